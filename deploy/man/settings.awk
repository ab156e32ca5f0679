# Reads .env.example: its headings, and above each setting the comment that describes it.
#   awk -v version=1.2.3 -f settings.awk .env.example     prints the man page
#   awk -v form=markdown -f settings.awk .env.example     prints the tables of deploy/settings.md
function roff(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  gsub(/'/, "\\(aq", text)
  gsub(/`/, "\\(ga", text)
  # troff would read a line that begins with a dot as a request.
  return text ~ /^\./ ? "\\&" text : text
}
BEGIN {
  if (form != "markdown") begin_page()
}
/^# --- / {
  gsub(/^# --- | ---$/, "")
  comment = ""
  if (form == "markdown") print "### " $0 "\n\n| setting | default | meaning |\n|---|---|---|"
  else print ".SH " toupper(roff($0))
  next
}
/^#/ {
  line = form == "markdown" ? substr($0, 3) : roff(substr($0, 3))
  comment = comment == "" ? line : comment (form == "markdown" ? " " : "\n") line
}
/^$/ {
  comment = ""
  if (form == "markdown" && has_rows) print ""
  has_rows = 0
}
/^[A-Z_]+=/ {
  key = substr($0, 1, index($0, "=") - 1)
  value = substr($0, index($0, "=") + 1)
  if (form == "markdown") {
    print "| `" key "` | " (value == "" ? "" : "`" value "` ") "| " comment " |"
    has_rows = 1
  } else {
    print ".TP\n.BR " roff(key) (value == "" ? "" : " = \"" roff(value) "\"")
    print comment
  }
  comment = ""
}
END {
  if (form != "markdown") end_page()
}
function begin_page() {
  print ".\\\" Made from .env.example."
  print ".TH BAILIAN\\-FCGI.CONF 5 \"\" \"bailian\\-fcgi " version "\" \"Settings\""
  print ".SH NAME\nbailian\\-fcgi.conf \\- settings of bailian\\-fcgi"
  print ".SH DESCRIPTION"
  print ".BR bailian\\-fcgi (1)\nreads its settings from the process environment and from a file of lines"
  print ".IR KEY = value ,\nwhich is"
  print ".I /etc/bailian\\-fcgi/env\nwhere it was installed as a service. Environment variables take precedence."
  print ".PP"
  print "Lines may begin with\n.BR export ;\n.B #\nbegins a comment. Values may be quoted: in double quotes"
  print "\\(rs\\^n, \\(rs\\^t, \\(rs\" and \\(rs\\(rs are escapes, in single quotes \\(rs\\(aq and \\(rs\\(rs."
  print "${NAME} and ${NAME:\\-fallback} are replaced from the environment, else from the lines above, but not in single"
  print "quotes. If a key appears twice, the last line wins. A placeholder counts as not set."
  print ".PP"
  print "All errors are reported together when the program starts, which then exits with code 78. A misspelt key gets a"
  print "warning.\n.B bailian\\-fcgi check\nchecks everything without starting."
  print ".PP"
  print "SIGHUP reloads the settings. The log names those that need a restart."
}
function end_page() {
  print ".SH FILES\n.TP\n.I /etc/bailian\\-fcgi/env\nThe settings of the service."
  print ".TP\n.I /etc/bailian\\-fcgi/dashscope\\-api\\-key\nThe key, which only root can read; systemd passes it to the service."
  print ".TP\n.I /etc/bailian\\-fcgi/bot.json\nThe bot profile,\n.BR BOT_CONFIG_FILE ."
  print ".TP\n.I /etc/bailian\\-fcgi/bots.d/NAME.env\nThe settings of the bot NAME, where they differ,\n.BR BOTS_DIR ."
  print ".SH SEE ALSO\n.BR bailian\\-fcgi (1)"
}
