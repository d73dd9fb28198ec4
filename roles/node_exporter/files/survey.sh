# shellcheck shell=sh
# What the role decides by, a fact a line. The arguments are the directory of figures, the configuration, and where the
# metrics are. It only reads.
dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' prometheus-node-exporter 2>/dev/null
stat --format '%a:%U:%G:%F' "$1" 2>/dev/null
echo "$(stat --format %a:%U:%G "$2" 2>/dev/null):$(sha256sum "$2" 2>/dev/null | cut -d' ' -f1)"
unit=prometheus-node-exporter.service
if systemctl --quiet is-enabled $unit && systemctl --quiet is-active $unit; then echo running; fi
python3 - "$3" 2>/dev/null <<'EOF'
import sys, urllib.request
answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=5).read()
if b'node_scrape_collector_success{collector="systemd"} 1' in answer:
    print("serving")
EOF
exit 0
