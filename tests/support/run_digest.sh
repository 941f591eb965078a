# For scripts that compare two runs; sourced. What is compared is in ./out.

# Names and bytes of everything in ./out, without what tells the time (and how long that is).
digest() {
    find out | sort
    find out -type f ! -name metrics.jsonl ! -name run_state.json -exec cksum {} + | sort
    find out -name run_state.json | sort | while read -r file; do sed '/"metrics_bytes"/d' "$file"; done
    metrics
}
# The result alone: a run that was asked to stop leaves a checkpoint where, and with what, others have none.
digest_result() {
    find out -path 'out/checkpoint-*' -prune -o -type f ! -name metrics.jsonl -exec cksum {} + | sort
    metrics
}
metrics() {
    [ ! -e out/metrics.jsonl ] || sed -E 's/, "(eval_)?(tokens_per_second|seconds|waited_seconds)": [^,}]*//g' out/metrics.jsonl
}

# Lehmer's generator, from $seed on; a number from 0 to $1 - 1 goes into $random.
draw() {
    seed=$(((seed * 16807 + 11) % 2147483647))
    random=$((seed / 7 % $1))
}
