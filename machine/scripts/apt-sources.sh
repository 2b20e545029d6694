# Sourced: which Debian this is, and how its package sources look with another suite. Nothing here changes the system.

codename() { (. /etc/os-release && echo "${VERSION_CODENAME:-unknown}"); }

# Prints the sources entry of the release itself, with the suite exchanged for $1; $2: sources (deb822) or list (one line).
# So the mirror, keys and options are those that the system uses. Prints nothing where there is none, which is no failure: a system has its
# sources in one form, and no file of the other.
sources_with_suite() {
  local from
  from=$(codename)
  if [ "$2" = sources ]; then
    { cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | sed '/^#/d' | awk -v RS= -v from="$from" -v to="$1" '
      /(^|\n)Enabled: *no/ { next }
      $0 ~ "(^|\n)Suites:[^\n]*[ \t]" from "([ \t\n]|$)" { sub(/Suites:[^\n]*/, "Suites: " to); print; exit }'
  else
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } | awk -v from="$from" -v to="$1" '
      $1 == "deb" { for (i = 2; i <= NF; i++) if ($i == from) { $i = to; print; exit } }'
  fi
}
