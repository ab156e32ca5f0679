#!/bin/sh
# nginx alone, straight to the simulator: what proxying costs at least. The caller speaks DashScope's dialect.
set -eu

case $1 in
  about) echo 'dialect dashscope' ;;
  prepare) ;;
  nginx)
    cat <<END
upstream simulator {
    server ${UPSTREAM#*://};
    keepalive 128;
}
server {
    listen $LISTEN;
    location / {
        proxy_pass http://simulator;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        proxy_read_timeout 310s;
    }
}
END
    ;;
esac
