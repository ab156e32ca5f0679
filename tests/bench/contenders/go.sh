#!/bin/sh
# relay.go, a net/http server and client, behind nginx.
set -eu

case $1 in
  about) echo 'responder yes' ;;
  prepare) go build -o "$BUILD/bench_relay" "$SOURCE/tests/bench/contenders/relay.go" ;;
  nginx)
    cat <<END
upstream relay {
    server unix:$SOCKET;
    keepalive 128;
}
server {
    listen $LISTEN;
    location / {
        proxy_pass http://relay;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        proxy_read_timeout 310s;
    }
}
END
    ;;
  responder)
    # Go reads the directory besides the file.
    export SSL_CERT_FILE="$CA_BUNDLE" SSL_CERT_DIR=/var/empty
    exec "$BUILD/bench_relay" "$SOCKET" "$UPSTREAM/api/v1/apps/bench/completion" sk-bench
    ;;
esac
