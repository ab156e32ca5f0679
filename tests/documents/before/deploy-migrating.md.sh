#!/bin/sh
# The site to migrate: nginx with TLS, answers as from the old chat in WordPress, and the files of a Flask program.
set -eu
theme=/var/www/html/wp-content/themes/shop
mkdir -p "$theme" /srv/chat
cp /home/reader/bailian-fcgi/tests/data/config-php/curl.php "$theme/config.php"
printf 'API_KEY=sk-0123456789abcdef\nAPP_ID=0123456789abcdef0123456789abcdef\nHOST=0.0.0.0\nPORT=8000\nDEBUG=False\n' >/srv/chat/.env
chmod 600 /srv/chat/.env
cat >/etc/nginx/sites-available/example <<'END'
server {
    listen 127.0.0.1:80;
    listen 127.0.0.1:443 ssl;
    server_name www.example.com;
    ssl_certificate /root/host.crt;
    ssl_certificate_key /root/host.key;
    root /var/www/html;
    location /wp-json/myapi/v1/ {
        default_type application/json;
        if ($uri = /wp-json/myapi/v1/chat-bot-config) {
            return 200 '{"botStatus":1,"StartUpMessage":"From WordPress","fontSize":"16","userAvatarURL":"","botImageURL":"","commonButtons":[]}';
        }
        return 200 '{"success":true,"message":"Response Generated","result":"From WordPress"}';
    }
}
END
rm /etc/nginx/sites-enabled/default
ln -s ../sites-available/example /etc/nginx/sites-enabled/
systemctl start nginx
