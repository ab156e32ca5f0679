#!/bin/sh
# Starts bailian-fcgi with spawn-fcgi, which opens the socket and passes it as descriptor 0. Run it as root. The program
# itself runs as bailian-fcgi, which must be able to read the settings and the key file.
set -eu
exec spawn-fcgi -n -u bailian-fcgi -g bailian-fcgi \
  -s /run/bailian-fcgi/bailian-fcgi.sock -U bailian-fcgi -G www-data -M 0660 -b 4096 \
  -- /usr/bin/bailian-fcgi --env-file /etc/bailian-fcgi/env
