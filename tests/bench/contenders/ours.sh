#!/bin/sh
# bailian-fcgi as in production, behind nginx/bailian-fcgi.conf.
set -eu

case $1 in
  about) echo 'responder yes' ;;
  prepare) ;;
  nginx)
    echo "server { listen $LISTEN;"
    sed "s|unix:[^;]*|unix:$SOCKET|" "$SOURCE/nginx/bailian-fcgi.conf"
    echo '}'
    ;;
  responder)
    export DASHSCOPE_API_KEY=sk-bench APP_ID=bench DASHSCOPE_BASE_URL="$UPSTREAM/api/v1"
    export DEBUG=False LOG_FORMAT=json MAX_STREAMS=20000 WORKERS="$WORKERS" SSL_CERT_FILE="$CA_BUNDLE"
    export LEDGER="${LEDGER-$PWD/ledger}"
    exec "$BUILD/bailian-fcgi" --env-file /dev/null --listen "$SOCKET"
    ;;
esac
