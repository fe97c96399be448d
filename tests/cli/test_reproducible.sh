# Compiling twice, from two folders, under another locale and time zone: the same bytes.
model=$TESTS/models/tiny.ir
[ -e "$SHARED/data/lowbit/tfc/TFC_1W1A.onnx" ] && model=$SHARED/data/lowbit/tfc/TFC_1W1A.onnx
need "$model"
mkdir -p a b/deeper
cp "$model" a/model.x; cp "$model" b/deeper/model.x
(cd a && LC_ALL=C TZ=UTC "$POPSHIFT" compile model.x --name m --emit c,ll,obj,hls -o out) || fail "first compile"
(cd b/deeper && LC_ALL=de_DE.UTF-8 LANG=tr_TR.UTF-8 TZ=Asia/Tokyo HOME=/nowhere "$POPSHIFT" compile "$PWD/model.x" --name m --emit c,ll,obj,hls -o out) || fail "second compile"
diff -r a b/deeper || fail "the outputs differ"
