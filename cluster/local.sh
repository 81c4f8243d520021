# Source this from the project's root: a Ray cluster on this machine, on loopback, with a token (see README.md).
export RAY_AUTH_MODE=token
export PATH="$PWD/.venv/bin:$PATH"
if curl -s -o /dev/null http://127.0.0.1:8265/; then
  echo "something answers at 127.0.0.1:8265 already; if it is this cluster, RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 is its address" >&2
  return 1
fi
(umask 077; ray get-auth-token --generate >/dev/null)
# With this off, Ray gives the node the address 127.0.0.1.
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 RAY_USAGE_STATS_ENABLED=0 ray start --head --block \
  --port=6399 --dashboard-host=127.0.0.1 --dashboard-port=8265 --num-cpus="$(($(nproc) > 4 ? $(nproc) : 4))" \
  --object-store-memory=536870912 >"${TMPDIR:-/tmp}/mixray-cluster-$$.log" 2>&1 &
MIXRAY_CLUSTER_PID=$!
mixray_cluster_stop() { kill "$MIXRAY_CLUSTER_PID" && wait "$MIXRAY_CLUSTER_PID" 2>/dev/null; unset RAY_API_SERVER_ADDRESS; }
for _ in $(seq 120); do
  curl -s -o /dev/null http://127.0.0.1:8265/ && break
  kill -0 "$MIXRAY_CLUSTER_PID" 2>/dev/null || break
  sleep 1
done
if ! curl -s -o /dev/null http://127.0.0.1:8265/; then
  cat "${TMPDIR:-/tmp}/mixray-cluster-$$.log" >&2
  echo "no Ray cluster answers; what it said is above, and mixray_cluster_stop ends what is left of it" >&2
  return 1
fi
export RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265
echo "a Ray cluster listens on 127.0.0.1:6399, its job server on 127.0.0.1:8265; mixray_cluster_stop ends it"
