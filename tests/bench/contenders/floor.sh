#!/bin/sh
# nginx alone, in front of the simulator: the minimum cost of proxying. The client sends DashScope's requests.
set -eu

case $1 in
  about) echo 'dialect dashscope' ;;
  prepare) ;;
  nginx)
    # The lines for TLS have no effect on a plain upstream.
    cat <<END
upstream simulator {
    server ${UPSTREAM#*://};
    keepalive 128;
}
server {
    listen $LISTEN;
    location / {
        proxy_pass ${UPSTREAM%%://*}://simulator;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        proxy_read_timeout 310s;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate $CA_BUNDLE;
        proxy_ssl_verify_depth 2;
        proxy_ssl_name localhost;
        proxy_ssl_protocols TLSv1.2 TLSv1.3;
    }
}
END
    ;;
esac
