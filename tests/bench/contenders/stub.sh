#!/bin/sh
# A FastCGI responder that generates events from a timer: the cost of FastCGI delivery alone.
set -eu

case $1 in
  about)
    echo 'responder yes'
    echo 'upstream no'
    ;;
  prepare) ;;
  nginx)
    echo "server { listen $LISTEN;"
    sed "s|unix:[^;]*|unix:$SOCKET|" "$SOURCE/nginx/bailian-fcgi.conf"
    echo '}'
    ;;
  responder) exec "$BUILD/bench_stub" "$SOCKET" ;;
esac
