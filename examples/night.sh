#!/usr/bin/env bash
# Subtract one template from all images of a folder and list what is new or brighter in each:
#   night.sh TEMPLATE NIGHT FOLDER [OPTION]...
# Run again it does only what is left; the options are those of psfmatch batch. The status is 1 if a pair failed.
set -euo pipefail

template=$1
night=$2
folder=$3
shift 3

status=0
psfmatch batch "$template" "$night/*.fits" -o "$folder" "$@" || status=$?
if [ "$status" -gt 1 ]; then
    exit "$status"
fi
for difference in "$folder"/*_diff.fits; do
    found=${difference%_diff.fits}_found.ecsv
    if [ -e "$difference" ] && [ ! "$found" -nt "$difference" ]; then
        psfmatch detect "$difference" -o "$found" --sigma 6 --overwrite
    fi
done
exit "$status"
