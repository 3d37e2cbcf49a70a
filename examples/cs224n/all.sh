#!/usr/bin/env bash
# The best run of heed on the birth places, from the files to the figure:
#
#   bash examples/cs224n/all.sh DATA_FOLDER OUT_FOLDER [SEED]
#
# DATA_FOLDER holds wiki.txt, birth_places_train.tsv and birth_dev.tsv. The lines of the people of dev stand in wiki.txt,
# by the assignment's design; their questions are never trained on. Prints `dev accuracy: a of b` last.
set -euo pipefail

data=${1:?usage: bash examples/cs224n/all.sh DATA_FOLDER OUT_FOLDER [SEED]}
out=${2:?usage: bash examples/cs224n/all.sh DATA_FOLDER OUT_FOLDER [SEED]}
seed=${3:-1}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for name in wiki.txt birth_places_train.tsv birth_dev.tsv; do
    [[ -f $data/$name ]] || { echo "all.sh: $data has no $name: give the folder with the data of the assignment" >&2; exit 2; }
done

run=$out/seed-$seed
# A run that was cut off goes on; a finished one is only asked again.
if [[ -f $run/config.yaml ]]; then
    heed train --resume "$run"
else
    heed pretrain "$data/wiki.txt" --config "$here/../../configs/birth-places.yaml" \
        --data.questions "$data/birth_places_train.tsv" --run.folder "$out" --run.name "seed-$seed" --run.seed "$seed"
fi
heed eval "$run" --task qa --questions "$data/birth_dev.tsv" --predictions "$out/seed-$seed.dev.predictions"
python "$here/london_baseline.py" --eval_corpus_path "$data/birth_dev.tsv"
python - "$run/evaluation-qa.json" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    marks = json.load(file)
print(f"dev accuracy: {marks['correct']} of {marks['total']}")
PYTHON
