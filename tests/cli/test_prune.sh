# prune: what it takes out of the golden graphs and of a model that somebody else trained, on every engine.
for f in "$TESTS"/passes/prune/*.ir "$TESTS"/passes/widths/*.ir; do
  name=$(basename "$f")
  grep -v '^;' "$f" > "$name"
  expect 0 "$POPSHIFT" verify "$name" --engine all --inputs 3
  says out '1 passed, 0 failed'
done
