#!/bin/sh
# Stands in for the binary in the tests of program.rs; the last argument says how to behave.
for last; do :; done
if [ "$last" = fail ]; then
    echo 'port taken' >&2
    exit 1
fi
trap 'kill $!; exit 7' TERM
echo '{"event":"ready","resp":"127.0.0.1:1"}'
sleep 600 &
wait
