#!/bin/sh
# nginx alone, in front of the simulator: the minimum cost of proxying. The client sends DashScope's requests.
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
