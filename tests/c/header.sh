#!/bin/sh
# Compiles the headers alone, included twice, with every warning, in every supported standard.
set -eu
cd "$(dirname "$0")"
include=${STAGE:+$STAGE/include}
warnings='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror'
checks=0

# compiler language standard options: compiles the standard input
compiles() {
    # shellcheck disable=SC2086 # both are words
    "$1" -x "$2" -std="$3" $warnings -I "${include:-../../include}" $4 -fsyntax-only - ||
        { echo "header: $1 -x $2 -std=$3 $4: does not compile" >&2; exit 1; }
    checks=$((checks + 1))
}

twice='-include paymentsgate_auth.h -include paymentsgate_auth.h'

for pair in gcc:g++ clang:clang++; do
    cc=${pair%:*} cxx=${pair#*:}
    for standard in c99 c11 c17; do compiles "$cc" c "$standard" "$twice" </dev/null; done
    for standard in c++11 c++14 c++17 c++20; do compiles "$cxx" c++ "$standard" "$twice" </dev/null; done
    for standard in c++17 c++20 c++2b; do compiles "$cxx" c++ "$standard" '' <hpp.cpp; done
    compiles "$cxx" c++ c++17 -fno-rtti <hpp.cpp
done
echo "ok header: $checks checks"
