# Malformed, malicious and absurd models: one located message and a documented exit code; no signal, no hang, nothing written.
ulimit -t 60
[ "$HOSTILE" = 1 ] || ulimit -v 4000000
bad() { # bad KIND...: the model must be refused with an E code within seconds
  "$MKMODEL" "$@" >m.onnx
  timeout 20 "$POPSHIFT" compile m.onnx -o out.c >out 2>err; local rc=$?
  case $rc in 1|3|6) ;; *) fail "exit $rc for $*"; tail -3 err ;; esac
  says err 'error E[0-9]{4}: '
  [ -e out.c ] && { fail "$* left out.c"; rm -f out.c; }
}
for n in 65 5000 100000; do bad nested $n; done
for k in input constant expand resize; do
  bad huge-$k 9223372036854775807
  bad huge-$k 1099511627776
done
for w in strides stride0 pads group axis perm kernel unknown arity rank self; do
  bad wrong $w
  says err 'm\.onnx: node 0 "the_node" \('
done
# All unsupported nodes at once, with name, operator and domain.
"$MKMODEL" unsupported >m.onnx
expect 3 "$POPSHIFT" compile m.onnx -o out.c
says err 'node 0 "first" .*Frobnicate.*com\.example|node 0 "first" \(com\.example\.Frobnicate\)|com\.example'
says err 'node 2 "second" \(.*StringNormalizer'
expect 3 "$POPSHIFT" ops --missing m.onnx
says out 'Frobnicate'

# A model cut at every 64th byte, and bytes flipped: refused, or still a model.
"$MKMODEL" tiny >tiny.onnx
expect 0 "$POPSHIFT" compile tiny.onnx -o ok.c
model=tiny.onnx
[ -e "$SHARED/data/models/micro_kws_m_qdq/model.onnx" ] && [ "$HOSTILE" != 1 ] && model=$SHARED/data/models/micro_kws_m_qdq/model.onnx
size=$(stat -c %s $model)
for ((i = 0; i < size; i += 64)); do
  head -c $i "$model" >cut.onnx
  timeout 20 "$POPSHIFT" compile cut.onnx -o cut.c >out 2>err; rc=$?
  case $rc in 1|3) ;; *) fail "exit $rc for the first $i bytes"; tail -2 err ;; esac
done
size=$(stat -c %s tiny.onnx)
for ((i = 0; i < size; i += 3)); do
  { head -c $i tiny.onnx; printf "\\x$(printf %02x $((i * 37 % 256)))"; tail -c +$((i + 2)) tiny.onnx; } >flip.onnx
  timeout 20 "$POPSHIFT" compile flip.onnx -o flip.c >out 2>err; rc=$?
  case $rc in 0|1|3|6) ;; *) fail "exit $rc with byte $i changed"; tail -2 err ;; esac
done
# Text forms: cut and garbled.
expect 0 "$POPSHIFT" convert tiny.onnx -o tiny.ir
size=$(stat -c %s tiny.ir)
for ((i = 15; i < size; i += 41)); do
  head -c $i tiny.ir >cut.ir
  timeout 20 "$POPSHIFT" opt cut.ir -o cut2.ir >out 2>err; rc=$?
  [ $rc = 1 ] || { fail "exit $rc for the first $i bytes of a graph"; tail -2 err; }
done
