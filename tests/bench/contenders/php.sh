#!/bin/sh
# relay.php under PHP-FPM: a worker process for each visitor. All workers run from the start: with `ondemand`, FPM
# misses some of the connections that arrive at the same moment.
set -eu

fpm() {
  find /usr/sbin -name 'php-fpm[0-9]*' | sort -V | tail -n 1
}

case $1 in
  about)
    echo 'responder yes'
    echo 'workers 1000'
    # PHP notices that the visitor has left only when it writes.
    echo 'notices_close streaming'
    ;;
  prepare)
    [ -n "$(fpm)" ] || { echo 'php-fpm is not installed' && exit 1; } >&2
    "$(fpm)" -m | grep -qx curl || { echo 'php-curl is not installed' && exit 1; } >&2
    ;;
  nginx)
    cat <<END
server {
    listen $LISTEN;
    location / {
        include /etc/nginx/fastcgi_params;
        fastcgi_param SCRIPT_FILENAME $SOURCE/tests/bench/contenders/relay.php;
        fastcgi_param REQUEST_ID \$request_id;
        fastcgi_pass unix:$SOCKET;
        fastcgi_buffering off;
        fastcgi_read_timeout 310s;
    }
}
END
    ;;
  responder)
    cat >php-fpm.conf <<END
[global]
daemonize = no
error_log = php-fpm.log
[relay]
user = $(id -un)
listen = $SOCKET
listen.backlog = 4096
pm = static
pm.max_children = 1000
clear_env = no
php_admin_value[output_buffering] = 0
php_admin_value[max_execution_time] = 0
END
    export UPSTREAM_URL="$UPSTREAM/api/v1/apps/bench/completion" DASHSCOPE_API_KEY=sk-bench
    exec "$(fpm)" --allow-to-run-as-root --prefix "$PWD" --fpm-config php-fpm.conf
    ;;
esac
