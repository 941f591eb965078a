# What tools/replicate and tools/replicate_job have in common; both source it with the settings in the environment.
say() { printf 'replicate: %s\n' "$*"; }
give_up() {
    say "$*" >&2
    exit 1
}
minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# method_column NAME COLUMN, of tools/replicate_methods.tsv; the base model has only dashes.
method_column() {
    awk -F '\t' -v name="$1" -v column="$2" '
        $1 == name { print $column; found = 1 }
        END { if (!found) print "-" }' tools/replicate_methods.tsv
}

# The jobs that have to be done before, by the words of a job's line.
needs_of() {
    case $4-$6 in
    mixture-*) for one in $(echo "$5" | tr + ' '); do echo "main-$one-$6-$7"; done ;;
    estimate-*) echo "noise-$5-theory-${9#noise=}-$7" ;;
    train-theory-estimated) echo "estimate-$5-theory-${9#noise=}-$7" ;;
    ranked-*) echo "model-$5-reward-$7 main-$5-theory-$7 main-$5-dpo-$7" | tr ' ' '\n' ;;
    train-ppo* | train-rloo*) echo "model-$5-reward-$7" ;;
    esac
}

# What a job depends on; when it changes, the job is done again: definition LINE, with the words of its line in jobs.table.
definition() {
    echo "$*"
    method_column "$6" 5
    method_column "$6" 6
    for file in $(data_files "$@"); do cksum < "$file"; done
    echo "steps $STEPS batch $BATCH rate $RATE rank $RANK alpha_0 $ALPHA_0 beta $BETA replay $REPLAY_PROMPTS"
    echo "limit $LIMIT samples $SAMPLES on the way $LIMIT_ON_THE_WAY pairs $TEST_PAIRS"
    echo "bundle $DIGEST"
    for need in $(needs_of "$@"); do
        echo "needs $need"
        method_column "$(echo "$need" | sed 's/^[^-]*-[^-]*-\(.*\)-[^-]*$/\1/')" 6
    done
}

# The file with a preference's training pairs: data_of PREFERENCE own|wrong|idle NOISE; several preferences, with + between
# them: their pairs in turns.
data_of() {
    if [ "$3" != 0 ]; then
        echo "$OUT/data/$1.flipped-$3.jsonl"
    elif [ "$2" = own ] && [ -e "$BUNDLE/preferences/$1.train.jsonl" ]; then
        echo "$BUNDLE/preferences/$1.train.jsonl"
    else
        echo "$OUT/data/$1.$2.jsonl"
    fi
}

# The files of pairs and answers that a job reads, by the words of its line.
data_files() {
    own=own noise=0
    case $9 in
    pairs=*) own=${9#*=} ;;
    noise=*) noise=${9#*=} ;;
    esac
    case $4 in train | joint | model | estimate) data_of "$5" "$own" "$noise" ;; esac
    case $(method_column "$6" 6) in
    *'$replay_own'*) echo "$OUT/data/replay.$5.jsonl" ;;
    *'$replay'*) echo "$OUT/data/replay.jsonl" ;;
    esac
}

# When a process was born: its number alone may be another process's by now, after a crash or in another container.
birth_of() {
    if [ -r "/proc/$1/stat" ]; then
        sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
    else
        ps -o lstart= -p "$1" 2>/dev/null || true
    fi
}
mark_running() { echo "$$ $(birth_of $$)" > "$1"; }
is_running() {
    [ -e "$1" ] && read -r owner birth < "$1" 2>/dev/null && [ -n "$birth" ] && [ "$(birth_of "$owner")" = "$birth" ]
}

count_done() {
    done_jobs=0 all_jobs=0
    while read -r name; do
        all_jobs=$((all_jobs + 1))
        [ ! -e "$OUT/jobs/$name/result.json" ] || done_jobs=$((done_jobs + 1))
    done < "$OUT/jobs.list"
}

# run_wave WORDS COMMAND: COMMAND for every line of $OUT/jobs.left, which has WORDS words, JOBS at once. With LAUNCH, such as
# "mpirun --hostfile hosts", by the processes that it starts: each takes jobs as long as there are any. All of them see
# this folder and $OUT, and get the settings by a file, since not every launcher passes the environment on.
run_wave() {
    if [ -z "${LAUNCH:-}" ]; then
        xargs -n "$1" -P "$JOBS" sh -c 'exec sh $0 "$@"' "$2" < "$OUT/jobs.left"
        return
    fi
    rm -rf "$OUT/running/taken"
    mkdir "$OUT/running/taken"
    WORDS=$1 COMMAND=$2
    for name in WORDS COMMAND JOBS LC_ALL $(sed -n 's/^ *export //p' "tools/${0##*/}" | tr ' ' '\n' | sed -n 's/^\([A-Z][A-Z_0-9]*\)\(=.*\)*$/\1/p'); do
        eval "value=\${$name-}"
        printf "export %s='%s'\n" "$name" "$(printf %s "$value" | sed "s/'/'\\\\''/g")"
    done > "$OUT/running/wave"
    case $OUT in /*) settings=$OUT ;; *) settings=$PWD/$OUT ;; esac
    $LAUNCH sh "$PWD/tools/support/wave" "$settings/running/wave"
}

# Under LAUNCH a process runs one job at a time unless JOBS says otherwise: the launcher says how many processes there are.
default_jobs() {
    for size in "${OMPI_COMM_WORLD_SIZE:-1}" "${PMI_SIZE:-1}" "${SLURM_STEP_NUM_TASKS:-1}"; do
        [ "$size" = 1 ] || give_up "started $size times: start it once, with LAUNCH=\"mpirun -n $size\" in the environment"
    done
    if [ -n "${LAUNCH:-}" ]; then echo 1; else nproc 2> /dev/null || echo 1; fi
}
