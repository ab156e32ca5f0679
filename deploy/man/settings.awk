# Makes the man page of the settings from .env.example: its headings, and under each setting the comment above it.
function roff(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  gsub(/'/, "\\(aq", text)
  gsub(/`/, "\\(ga", text)
  return text ~ /^\./ ? "\\&" text : text
}
BEGIN {
  print ".\\\" Made from .env.example."
  print ".TH BAILIAN\\-FCGI.CONF 5 \"\" \"bailian\\-fcgi " version "\" \"Settings\""
  print ".SH NAME\nbailian\\-fcgi.conf \\- settings of bailian\\-fcgi"
  print ".SH DESCRIPTION"
  print ".BR bailian\\-fcgi (1)\nreads its settings from the process environment and from a file of lines"
  print ".IR KEY = value ,\nwhich is"
  print ".I /etc/bailian\\-fcgi/env\nwhere it was installed as a service. Environment variables take precedence."
  print ".PP"
  print "Lines may begin with\n.BR export ;\n.B #\nbegins a comment. Values may stand in quotes: in double ones"
  print "\\(rs\\^n, \\(rs\\^t, \\(rs\" and \\(rs\\(rs are understood, in single ones \\(rs\\(aq and \\(rs\\(rs."
  print "${NAME} and ${NAME:\\-otherwise} are replaced from the environment, else from the lines above, but not in single"
  print "quotes. A placeholder counts as not set."
  print ".PP"
  print "All faults are reported together when the program starts, which then ends with exit code 78. A key that is nearly"
  print "the name of a setting is named in a warning.\n.B bailian\\-fcgi \\-\\-check\nlooks without starting."
  print ".PP"
  print "On SIGHUP the settings are read again. Those that need a restart are named in the log."
}
/^# --- / {
  gsub(/^# --- | ---$/, "")
  print ".SH " toupper(roff($0))
  comment = ""
  next
}
/^#/ { comment = comment (comment == "" ? "" : "\n") roff(substr($0, 3)) }
/^$/ { comment = "" }
/^[A-Z_]+=/ {
  key = substr($0, 1, index($0, "=") - 1)
  value = substr($0, index($0, "=") + 1)
  print ".TP\n.BR " roff(key) (value == "" ? "" : " = \"" roff(value) "\"")
  # A line that begins with a dot or a quote would be a request.
  print comment == "" ? above : comment
  if (comment != "") above = comment
  comment = ""
}
END {
  print ".SH FILES\n.TP\n.I /etc/bailian\\-fcgi/env\nThe settings of the service."
  print ".TP\n.I /etc/bailian\\-fcgi/dashscope\\-api\\-key\nThe key, which only root can read; systemd passes it on."
  print ".TP\n.I /etc/bailian\\-fcgi/bot.json\nThe profile of the bot,\n.BR BOT_CONFIG_FILE ."
  print ".SH SEE ALSO\n.BR bailian\\-fcgi (1)"
}
