# For tests in sh, which set `work` to a folder of their own: `passes NAME COMMAND…` is one test, and `passed` counts them. The output of
# a command is shown only where it fails. What `about` prints of it, from $work/log, is shown behind the name.
passed=0
about() { :; }
passes() {
    name=$1
    shift
    if ! "$@" >"$work/log" 2>&1; then
        cat "$work/log"
        echo "FAILED: $name ($passed passed before it)"
        exit 1
    fi
    passed=$((passed + 1))
    echo "passed: $name$(about)"
}
