#!/bin/sh
# Starts bailian-fcgi by spawn-fcgi, which opens the socket and passes it on as descriptor 0. Run it as root.
# The program gives up root before it starts: the settings and the key file must be readable for bailian-fcgi.
set -eu
exec spawn-fcgi -n -u bailian-fcgi -g bailian-fcgi \
  -s /run/bailian-fcgi/bailian-fcgi.sock -U bailian-fcgi -G www-data -M 0660 -b 4096 \
  -- /usr/bin/bailian-fcgi --env-file /etc/bailian-fcgi/env
