# Data for the tests that train, sourced by them: train-images, -labels (960) and test-images, -labels (96), images of 8x8 with noise
# whose class is a bright band of two rows.
# idx N SEED images|labels: an IDX file as octal escapes.
idx() {
  LC_ALL=C awk -v n="$1" -v seed="$2" -v what="$3" '
    function byte(v) { printf "\\%03o", v }
    function word(v) { byte(0); byte(0); byte(int(v / 256)); byte(v % 256) }
    BEGIN {
      byte(0); byte(0); byte(8); byte(what == "images" ? 3 : 1); word(n)
      if (what == "images") { word(8); word(8) }
      for (i = 0; i < n; i++) {
        if (what == "labels") { byte(i % 4); continue }
        for (p = 0; p < 64; p++) {
          seed = (seed * 1103 + 12345) % 65536
          byte(int(seed / 1024) + (int(p / 16) == i % 4 ? 120 : 0))
        }
      }
    }'
}
for set in train:960:1 test:96:777; do
  IFS=: read -r name n seed <<<"$set"
  for what in images labels; do printf "$(idx "$n" "$seed" $what)" >"$name-$what"; done
done
[ "$(stat -c %s train-images)" = $((16 + 960 * 64)) ] || fail "the data are not as long as they should be"
