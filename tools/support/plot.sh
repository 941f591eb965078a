# What the tools/plot-* have in common; they source it after setting tool, format (svg or png) and out, a folder.
# Afterwards there are: $data, a folder for the time being; terminal WIDTH HEIGHT FONT; $common, gnuplot's settings;
# draw COMMANDS FIGURE, which leaves the folder's name out of an SVG's titles.
for needed in gnuplot awk; do
    if ! command -v "$needed" > /dev/null; then
        echo "$tool: $needed is not installed (Debian, Ubuntu: apt-get install gnuplot-nox)" >&2
        exit 1
    fi
done
case $format in
svg) terminal() { echo "svg size $1,$2 font \"sans-serif,$3\" background \"#ffffff\""; } ;;
png) terminal() { echo "pngcairo size $1,$2 font \"sans-serif,$(($3 - 4))\""; } ;;
*)
    echo "$tool: svg or png, not \"$format\"" >&2
    exit 1
    ;;
esac
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
mkdir -p "$out"
common='
set encoding utf8
set border 3 lw 1.2
set tics nomirror
set grid lw 0.6 lc rgb "#dddddd"
'
draw() {
    LC_ALL=C.UTF-8 gnuplot "$1"
    [ "$format" != svg ] || sed -i "s|<title>\"$data/|<title>\"|" "$2"
}
