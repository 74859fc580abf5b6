#!/usr/bin/env bash
# Subtract one image from another and list what is new or brighter:
#   run_pair.sh TEMPLATE SCIENCE FOLDER
set -euo pipefail

template=$1
science=$2
folder=$3

mkdir -p "$folder"
psfmatch subtract "$template" "$science" -o "$folder/diff.fits" --overwrite
psfmatch detect "$folder/diff.fits" -o "$folder/found.ecsv" --sigma 6 --overwrite
echo "the sources are in $folder/found.ecsv"
