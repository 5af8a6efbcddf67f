#!/usr/bin/env bash
# Makes the picture in the README of a transcript of the demo, or compares two such pictures.
#   demo/picture.sh TRANSCRIPT > PICTURE
#   demo/picture.sh --same PICTURE PICTURE
set -euo pipefail

# What is another each time: names of pods, ages, times of day.
stable() {
  sed -E -e 's/-[a-z0-9]{8,10}-[a-z0-9]{5}/-POD/g' -e 's/[0-9]{2}:[0-9]{2}(:[0-9]{2})?/TIME/g' -e 's/\b([0-9]+[dhms])+\b/AGE/g' -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/g' -e 's/ +/ /g' "$1"
}

if [ "${1:-}" = --same ]; then
  diff <(stable "$2") <(stable "$3") && exit
  printf 'The picture in the README shows something else than the demo. Look at %s, then: cp %s %s\n' "$2" "$2" "$3" >&2
  exit 1
fi

# A line appears after the one before; where nothing moves, all are there.
awk '
  function escape(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); return text }
  /^\$ / && NR > 1 { if (line[n] != "") line[++n] = "" }
  { if (length($0) > 118) $0 = substr($0, 1, 117) "…"; line[++n] = $0; if (length($0) > widest) widest = length($0) }
  END {
    last = n; while (last > 0 && line[last] == "") last--
    width = int(widest * 7.83) + 44; height = last * 20 + 60
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"A terminal: an upgrade is held, explained, approved and rolled out\">\n", width, height
    print "<style>"
    print "  text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, \"DejaVu Sans Mono\", monospace; white-space: pre; fill: #c9d1d9; animation: show 0.01s linear both }"
    print "  .command { fill: #ffffff; font-weight: 600 } .held { fill: #e3b341 }"
    print "  @keyframes show { from { opacity: 0 } to { opacity: 1 } }"
    print "  @media (prefers-reduced-motion: reduce) { text { animation: none } }"
    print "</style>"
    printf "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#0d1117\"/>\n", width, height
    print "<circle cx=\"22\" cy=\"20\" r=\"6\" fill=\"#ff5f57\"/><circle cx=\"42\" cy=\"20\" r=\"6\" fill=\"#febc2e\"/><circle cx=\"62\" cy=\"20\" r=\"6\" fill=\"#28c840\"/>"
    at = 0.5
    for (n = 1; n <= last; n++) {
      class = ""
      if (line[n] ~ /^\$ /) { class = " class=\"command\""; if (n > 1) at += 1.5 }
      else if (line[n] ~ /held/) class = " class=\"held\""
      if (line[n] != "") printf "<text x=\"22\" y=\"%d\" xml:space=\"preserve\"%s style=\"animation-delay: %.1fs\">%s</text>\n", n * 20 + 36, class, at, escape(line[n])
      at += line[n] ~ /^\$ / ? 0.6 : 0.1
    }
    print "</svg>"
  }' "$1"
