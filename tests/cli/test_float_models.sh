# Float models of other projects whose operators are all read: stored vectors within tolerance, engines equal to eval.
models=$SHARED/data/models
need "$models"
[ "$HOSTILE" = 1 ] && skip "minutes under sanitizers"
expect 0 "$POPSHIFT" verify --suite "$models" --engine nest,c,jit
cat out
says out ' 0 failed'
