#!/usr/bin/env bash
# Switches the chat of a real WordPress over to bailian-fcgi and back: Debian's WordPress, MariaDB and PHP-FPM as
# processes of this script, behind a real nginx. The system's services are not touched.
#   usage: tests/wordpress/run.sh BUILD_DIR      (`make test-wordpress` calls it)
#   KEEP=1  keep the switched site running until Ctrl-C, to look at it with a browser
# All files are in build/wordpress. Ends with `N passed, N failed` and exit code 0, else 1.
# shellcheck disable=SC2016 # PHP has variables of its own
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$PATH:/usr/sbin

build=$(realpath "${1:?usage: tests/wordpress/run.sh BUILD_DIR}")
here=$PWD/tests/wordpress
work=$PWD/build/wordpress
workers=5  # of PHP
visitors=50
readonly password='correct horse battery staple'

die() {
  printf 'test-wordpress: %s\n' "$*" >&2
  exit 1
}
source tests/processes.sh

# shellcheck disable=SC2317 # the EXIT trap calls it
stop_all() {
  stop_processes
  rm -rf "$sockets"
}

reload_nginx() {
  nginx -t -q -e stderr -p "$work" -c nginx.conf 2>"$work/nginx-t.log" || { cat "$work/nginx-t.log" && die 'nginx -t'; }
  local nginx=${pid_of[nginx]} workers worker
  workers=$(<"/proc/$nginx/task/$nginx/children")
  kill -HUP "$nginx"
  for worker in $workers; do await_end "$worker" || die "process $worker does not end"; done
}

# --- Requests --------------------------------------------------------------------------------------------------

status='' # of the last answer; its head and body are in $work/head and $work/body
visitor=0
ask() { # CURL_ARGUMENT..., each time as another visitor
  visitor=$((visitor + 1))
  curl -sS --noproxy '*' --max-time $patience -H "X-Forwarded-For: 10.0.$((visitor / 250)).$((visitor % 250))" "$@"
}
fetch() { # CURL_ARGUMENT...
  ask -D "$work/head" -o "$work/body" -w '%{http_code}' "$@" >"$work/status"
  status=$(<"$work/status")
}
get() { fetch "$url$1"; }
post() { fetch "$url$1" -H 'Content-Type: application/json' -d "$2"; }

simulator() { curl -sS --noproxy '*' "$simulator_url/control/$1" "${@:2}"; }
busy_workers() {
  curl -sS --unix-socket "$sockets/status.sock" 'http://php/status?json' | jq '."active processes"'
}

page_ms() { # in how many ms the page comes, the median of N
  local n=$1 i
  for ((i = 0; i < n; i++)); do
    ask -o "$work/page" -w '%{time_total}\n' "$url/hello-world/"
    grep -q '<h1>Hello world!</h1>' "$work/page" || die 'the page is not the page'
  done | sort -n | awk '{ ms[NR] = $1 * 1000 } END { printf "%.0f", ms[int((NR + 1) / 2)] }'
}

# --- Checks ----------------------------------------------------------------------------------------------------

# The paths of each form of a route, with and without pretty permalinks.
forms_of() { # ROUTE
  printf '%s\n' "/?rest_route=/myapi/v1$1" "/index.php?rest_route=%2Fmyapi%2Fv1${1//\//%2F}"
  if [[ $permalinks == pretty ]]; then printf '%s\n' "/wp-json/myapi/v1$1" "/wp-json/myapi/v1$1/"; fi
}

in_wordpress() { # PHP_CODE ARGUMENT...
  (cd "$work/site" && php -r '$_SERVER["HTTP_HOST"] = "localhost"; require "wp-load.php"; '"$1" -- "${@:2}") ||
    die "WordPress refuses: $1"
}

set_permalinks() { # plain or pretty
  permalinks=$1
  in_wordpress '$wp_rewrite->set_permalink_structure($argv[1] === "pretty" ? "/%postname%/" : "");
    $wp_rewrite->flush_rules(false);' "$1"
}

# Each key of an answer with the type of its value.
shape() { jq -cS '[paths(true) as $p | [$p, (getpath($p) | type)]]' "$1"; }

readonly question='{"last_prompt":"What is SEO? [[sim text=echo delay=0 interval=0]]","conversation_history":[
  {"role":"user","content":"Hi"},{"role":"assistant","content":"Hello!"}]}'

# The status of a recorded answer and what jq finds in it, in one line.
recorded() { # FILE FILTER
  { head -c 3 "$1" && echo && sed 1d "$1" | jq "$2"; } | paste -sd ' '
}

# Records in the directory the answers of all forms of all routes.
record_chat() { # DIRECTORY
  local form n=0
  keep() { # KIND
    n=$((n + 1))
    { echo "$status $form" && cat "$work/body"; } >"$directory/$n.$1"
  }
  local directory=$1
  mkdir -p "$directory"
  for permalinks in plain pretty; do
    set_permalinks $permalinks
    while read -r form; do
      get "$form"
      keep config
    done < <(forms_of /chat-bot-config)
    while read -r form; do
      post "$form" "$question"
      keep chat
      post "$form" '{"conversation_history":[]}'
      keep refused
    done < <(forms_of /chat-bot)
  done
}

# Records in the directory what visitors of the rest of the site receive.
record_site() { # DIRECTORY
  local path n=0 file
  mkdir -p "$1"
  for permalinks in plain pretty; do
    set_permalinks $permalinks
    for path in / /index.php '/?p=1' /hello-world/ /health/ /feed/ /nothing-here/ /wp-login.php /wp-admin/ \
      /wp-includes/css/buttons.min.css '/?rest_route=/' '/?rest_route=/wp/v2/posts' /wp-json/ /wp-json/wp/v2/posts \
      '/?s=myapi' /myapi-news/ /wp-json/other/v1/myapi/v1/chat-bot; do
      get "$path"
      n=$((n + 1))
      file=$1/$n
      {
        echo "$permalinks $path $status"
        grep -iE '^(content-type|location|link|allow):' "$work/head" | sort
        cat "$work/body"
      } >"$file"
    done
    fetch "$url/wp-login.php" -d log=admin --data-urlencode "pwd=$password" -d testcookie=1 \
      -b 'wordpress_test_cookie=WP+Cookie+check'
    n=$((n + 1))
    { echo "login $status" && grep -ic '^set-cookie: wordpress_logged_in' "$work/head"; } >"$1/$n" || true
  done
}

# --- Tests -----------------------------------------------------------------------------------------------------

TheOldChatAnswersWhole() {
  local file
  for file in "$work"/old/*.config; do
    expect "$(head -n 1 "$file")" '200 "18" 2' "$(recorded "$file" '.fontSize, (.commonButtons | length)')"
  done
  for file in "$work"/old/*.chat; do
    expect "$(head -n 1 "$file")" '200 true "What is SEO? "' "$(recorded "$file" '.success, .result')"
  done
  for file in "$work"/old/*.refused; do
    expect "$(head -n 1 "$file")" '400 false "last_prompt is required"' "$(recorded "$file" '.success, .message')"
  done
  expect 'answers recorded' 18 "$(find "$work/old" -type f | wc -l)"
}

FiftyOldChatsOccupyEveryPhpWorker() {
  local i chats
  start_chats() { # DIRECTIVE
    chats=()
    simulator reset -X POST
    for ((i = 0; i < visitors; i++)); do
      ask "$url/wp-json/myapi/v1/chat-bot" -H 'Content-Type: application/json' \
        -d "{\"last_prompt\":\"[[sim events=2 interval=0 $1]]\"}" -o "$work/chat.$i" &
      chats+=($!)
    done
  }
  start_chats hold=0
  for ((i = 0; i < visitors; i += workers)); do
    simulator "stats?wait=held&at_least=$workers&timeout_ms=60000" >/dev/null
    expect 'busy PHP workers' $workers "$(busy_workers)"
    simulator release -X POST
  done
  wait "${chats[@]}"
  start_chats delay=1500
  simulator "stats?wait=open&at_least=$workers&timeout_ms=60000" >/dev/null
  page_ms_beside_old_chats=$(page_ms 1)
  wait "${chats[@]}"
  expect 'chats answered' $visitors "$(grep -l '"result":"tok1 tok2 "' "$work"/chat.* | wc -l)"
}

TheSamePathsGiveTheSameKeys() {
  local old new
  for old in "$work"/old/*; do
    new=$work/new/${old##*/}
    expect "status and path" "$(head -n 1 "$old")" "$(head -n 1 "$new")"
    sed 1d "$old" >"$work/old.json"
    sed 1d "$new" >"$work/new.json"
    if [[ $old == *.config ]]; then
      expect "the profile of $old" "$(jq -cS . "$work/old.json")" "$(jq -cS . "$work/new.json")"
      expect "$new, which PHP would have escaped" 1 "$(grep -c 您好 "$work/new.json")"
    else
      expect "keys and types that $old has and $new has not" '[]' \
        "$(jq -cn --argjson old "$(shape "$work/old.json")" --argjson new "$(shape "$work/new.json")" '$old - $new')"
      expect "$new, with an id that PHP had not" 32 "$(jq '.request_id | length' "$work/new.json")"
      expect "what $new says" "$(recorded "$old" '.success, .message')" "$(recorded "$new" '.success, .message')"
    fi
  done
}

TheChatNowStreamsToo() {
  local form stream line
  for permalinks in plain pretty; do
    set_permalinks $permalinks
    while read -r form; do
      simulator reset -X POST
      exec {stream}< <(ask -N "$url$form" -d '{"last_prompt":"[[sim events=3 hold=1]]"}')
      read -r -t $patience -u "$stream" line || true
      expect "the first text of $form" '"tok1 "' "$(jq .content <<<"${line#data: }")"
      expect 'answers held back behind it' 1 "$(simulator 'stats?wait=held&at_least=1' | jq .held)"
      simulator release -X POST
      expect "the rest of $form" '"tok2 tok3 "' \
        "$(sed -n 's/^data: //p' <&"$stream" | jq -s 'map(.content // "") | add')"
      exec {stream}<&-
    done < <(forms_of /chat-bot/stream)
  done
}

TheRestOfTheSiteIsUnharmed() {
  local page
  for page in "$work"/site-before/*; do
    expect "the page $(head -n 1 "$page")" "$(<"$page")" "$(<"$work/site-after/${page##*/}")"
  done
  expect 'pages compared' 36 "$(find "$work/site-before" -type f | wc -l)"
  expect 'pages found' 24 "$(head -qn 1 "$work"/site-before/* | grep -c '^p.* 200$')"
  expect 'logins that succeeded' 2 "$(head -qn 1 "$work"/site-before/* | grep -c '^login 302')"
}

FiftyChatsOccupyNoPhpWorker() {
  local i chats=() path
  simulator reset -X POST
  for ((i = 0; i < visitors; i++)); do
    path=/wp-json/myapi/v1/chat-bot
    if ((i % 2)); then path+=/stream; fi
    visitor=$i
    ask "$url$path" -d '{"last_prompt":"[[sim events=2 hold=1]]"}' -o "$work/chat.$i" &
    chats+=($!)
  done
  expect 'chats under way' $visitors "$(simulator "stats?wait=held&at_least=$visitors&timeout_ms=60000" | jq .held)"
  expect 'busy PHP workers' 0 "$(busy_workers)"
  page_ms_beside_chats=$(page_ms 9)
  expect 'chats under way after the pages' $visitors "$(simulator stats | jq .held)"
  simulator release -X POST
  wait "${chats[@]}"
  expect 'whole answers' $((visitors / 2)) "$(grep -l '"result":"tok1 tok2 "' "$work"/chat.* | wc -l)"
  expect 'streams that ended well' $((visitors / 2)) \
    "$(grep -l '"success":true,"finished":true' "$work"/chat.* | wc -l)"
}

AVisitorWhoAsksTooMuchIsToldInJson() {
  local i refused=0
  for ((i = 0; i < 30 && !refused; i++)); do
    visitor=0
    post /wp-json/myapi/v1/chat-bot '{}'
    if [[ $status == 429 ]]; then refused=1; fi
  done
  expect 'status after 30 questions' 429 "$status"
  expect 'its code' rate_limited "$(jq -r .code "$work/body")"
  expect 'CORS headers' 1 "$(grep -ic '^access-control-allow-origin: \*' "$work/head")"
  get /wp-json/myapi/v1/chat-bot-config
  expect 'the profile' 200 "$status"
}

TheWidgetsLinePastedIntoAPageChats() {
  cp nginx/www/chat-widget.js "$work/site/"
  in_wordpress 'kses_remove_filters(); wp_insert_post(["post_type" => "page", "post_status" => "publish",
    "post_title" => "Chat", "post_content" => $argv[1]]);' \
    '<script src="/chat-widget.js" data-endpoint="/wp-json/myapi/v1" defer></script>'
  expect 'the answer in the browser' 'Hello from WordPress 您好' \
    "$(timeout $patience node tests/browser/ask_widget.js "$url/chat/" '[[sim text=echo delay=0]] Hello from WordPress 您好')"
}

RemovingTheLineSwitchesBack() {
  local old i answers=''
  for old in "$work"/old/*; do
    expect "the old answer" "$(<"$old")" "$(<"$work/back/${old##*/}")"
  done
  post /wp-json/myapi/v1/chat-bot/stream "$question"
  expect 'the stream, which PHP never had' '404 rest_no_route' "$status $(jq -r .code "$work/body")"
  for ((i = 0; i < 30; i++)); do
    visitor=0
    post /wp-json/myapi/v1/chat-bot '{}'
    answers+="$status "
  done
  expect 'PHP, asked 30 times by one visitor' "$(printf '400 %.0s' {1..30})" "$answers"
}

# --- The site, switched over and back ------------------------------------------------------------------------

php_fpm=$(compgen -c php-fpm | sort -V | tail -n 1) || true
for tool in nginx curl jq node php mariadbd mariadb mariadb-install-db "${php_fpm:-php-fpm}"; do
  command -v "$tool" >/dev/null || die "$tool is missing: run deploy/install-deps.sh wordpress"
done
[[ -r /usr/share/wordpress/wp-settings.php ]] || die 'WordPress is missing: run deploy/install-deps.sh wordpress'

exec {lock}>"$PWD/build/wordpress.lock"
flock -n "$lock" || die 'already running from this checkout'
rm -rf "$work"
mkdir -p "$work/conf.d"
sockets=$(mktemp -d) # short: a unix socket's path has room for 107 bytes only
trap stop_all EXIT
trap 'echo "test-wordpress: line $LINENO: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT TERM HUP

# The kernel chooses a port; nginx cannot ask for one.
port=$(php -r 'echo parse_url(stream_socket_get_name(stream_socket_server("tcp://127.0.0.1:0"), false), PHP_URL_PORT);')
url=http://127.0.0.1:$port
fill_in() { # FILE
  sed "s|@PORT@|$port|; s|@URL@|$url|; s|@SITE@|$work/site|; s|@SOCKETS@|$sockets|; s|@WORKERS@|$workers|
    s|@BASE_URL@|$simulator_url/api/v1|" "$1"
}

as_root=() nginx_user='' php_user=''
if [[ $(id -u) == 0 ]]; then
  # A checkout may be readable by root only.
  as_root=(-R) nginx_user='user root;' php_user=$'user = root\ngroup = root'
fi

echo "test-wordpress: $(nginx -v 2>&1), $(php -r 'echo "PHP ", PHP_VERSION;'), WordPress $(
  sed -n "s/^\$wp_version = '\(.*\)';/\1/p" /usr/share/wordpress/wp-includes/version.php
), $(mariadbd --version | grep -o '[0-9.]*-MariaDB')"

start simulator '^listening on' "$build/simulator" --listen 127.0.0.1:0
simulator_url=${started#listening on }

# --force: the name of this machine may not resolve.
mariadb-install-db --no-defaults --force --user="$(id -un)" --datadir="$work/db" --skip-test-db \
  --auth-root-authentication-method=normal >"$work/mariadb-install-db.log" 2>&1 ||
  die "see $work/mariadb-install-db.log"
start mariadbd 'ready for connections' mariadbd --no-defaults --user="$(id -un)" --datadir="$work/db" \
  --socket="$sockets/mariadb.sock" --pid-file="$work/mariadbd.pid" --skip-networking --innodb-flush-log-at-trx-commit=0
mariadb --no-defaults --user=root --socket="$sockets/mariadb.sock" -e 'CREATE DATABASE wordpress CHARACTER SET utf8mb4'

cp -rL /usr/share/wordpress "$work/site" 2>/dev/null || [[ -r $work/site/wp-settings.php ]]
rm -rf "$work/site/wp-content"
mkdir -p "$work/site/wp-content"/{plugins,mu-plugins,themes}
cp -r "$here/theme" "$work/site/wp-content/themes/plain"
fill_in "$here/wp-config.php" >"$work/site/wp-config.php"
fill_in "$here/old-chat.php" >"$work/site/wp-content/mu-plugins/old-chat.php"

{ fill_in "$here/php-fpm.conf.in" && echo "$php_user"; } >"$work/php-fpm.conf"
start php-fpm 'ready to handle connections' "$php_fpm" -F -O -y "$work/php-fpm.conf" "${as_root[@]}"

ln -s /etc/nginx/fastcgi_params "$work/"
{ echo "$nginx_user" && fill_in "$here/nginx.conf.in"; } >"$work/nginx.conf"
start nginx 'start worker process ' nginx -e stderr -p "$work" -c nginx.conf -g 'daemon off; error_log stderr notice;'

fetch "$url/wp-admin/install.php?step=2" -d weblog_title=Shop -d user_name=admin -d language= -d blog_public=0 \
  --data-urlencode "admin_password=$password" --data-urlencode "admin_password2=$password" \
  -d admin_email=admin@example.com
grep -q 'wp-login.php' "$work/body" || die "WordPress is not installed, see $work/body"
in_wordpress 'wp_insert_post(["post_type" => "page", "post_status" => "publish", "post_title" => "Health"]);'

record_chat "$work/old"
record_site "$work/site-before"
page_ms_alone=$(page_ms 9)
run_test TheOldChatAnswersWhole
run_test FiftyOldChatsOccupyEveryPhpWorker

# The profile that the old endpoint returned is used as the new one's file without changes.
sed 1d "$(find "$work/old" -name '*.config' -print -quit)" >"$work/bot.json"
start bailian-fcgi listening env DASHSCOPE_API_KEY=sk-test APP_ID=0123456789abcdef0123456789abcdef \
  DASHSCOPE_BASE_URL="$simulator_url/api/v1" BOT_CONFIG_FILE="$work/bot.json" DEBUG=False \
  "$build/bailian-fcgi" --env-file /dev/null --listen "$sockets/bailian-fcgi.sock"

# The visitors of this test connect through a trusted proxy, which sets their addresses.
for file in bailian-fcgi.conf bailian-fcgi-http.conf; do
  sed "s|/run/bailian-fcgi/bailian-fcgi.sock|$sockets/bailian-fcgi.sock|
    s|#set_real_ip_from .*|set_real_ip_from 127.0.0.1;|; s|#real_ip_header|real_ip_header|" "nginx/$file" >"$work/$file"
done
ln -s ../bailian-fcgi-http.conf "$work/conf.d/"
sed -i "/listen 127/a\\        include bailian-fcgi.conf;" "$work/nginx.conf"
reload_nginx

record_chat "$work/new"
record_site "$work/site-after"
run_test TheSamePathsGiveTheSameKeys
run_test TheChatNowStreamsToo
run_test TheRestOfTheSiteIsUnharmed
run_test FiftyChatsOccupyNoPhpWorker
run_test AVisitorWhoAsksTooMuchIsToldInJson
run_test TheWidgetsLinePastedIntoAPageChats

if [[ ${KEEP:-} ]]; then
  echo "test-wordpress: $url is up, its chat switched over; login admin, '$password'. Ctrl-C stops it."
  wait "${pid_of[nginx]}"
fi

sed -i '/include bailian-fcgi.conf;/d' "$work/nginx.conf"
reload_nginx
record_chat "$work/back"
run_test RemovingTheLineSwitchesBack

echo "A page of the site, median: $page_ms_alone ms alone," \
  "$page_ms_beside_old_chats ms beside $visitors chats in PHP," \
  "$page_ms_beside_chats ms beside $visitors chats in bailian-fcgi ($workers PHP workers)."
sum_up
