# A 3-bit shift network in the manner of S3 as a text graph: awk -f s3net.awk [-v ELEM=i4] [-v SEED=7]. Weights 0, 1, -1, 2, -2, 4, -4;
# u8 pixels, then activations of 2, 3 and 4 bits: convolution with a border, thresholds, strided convolution, requantization by
# dyadic numbers per channel, depthwise convolution, average pool with its division, fully connected layer. Integers from end to end.
function rnd(n) { state = (state * 69069 + 12345) % 4294967296; return int(state / 65536) % n }
function byte(v) { return sprintf("%02x", (v + 256) % 256) }
function word(v) { v = (v + 4294967296) % 4294967296; return byte(v % 256) byte(int(v / 256) % 256) byte(int(v / 65536) % 256) byte(int(v / 16777216)) }
function long(v) { return word(v % 4294967296) word(v < 0 ? 4294967295 : int(v / 4294967296)) }
function data(k, type, n,   i) {
  printf "data $%d: %s = hex\n", k, type
  for (i = 0; i < n; i++) printf "%s%s%s", i % 32 ? "" : "  \"", byte(w[rnd(7)]), (i % 32 == 31 || i == n - 1) ? "\"\n" : ""
}
BEGIN {
  if (ELEM == "") ELEM = "shift<3>"
  state = SEED == "" ? 7 : SEED
  split("0 1 -1 2 -2 4 -4", s, " "); for (i = 1; i <= 7; i++) w[i - 1] = s[i]
  print "popshift.graph 1"
  print "graph @s3(%x: u8[1,1,14,14]) -> (%y: i32[1,10]) {"
  printf "  %%w1: %s[6,1,5,5] = const $1\n  %%w2: %s[16,6,3,3] = const $2\n  %%w3: %s[16,3,3] = const $3\n  %%w4: %s[10,144] = const $4\n", ELEM, ELEM, ELEM, ELEM
  print "  %t1: i32[6,3] = const $5\n  %b1: i32[1] = const [0]\n  %s1: i32[1] = const [1]"
  print "  %m2: i64[16] = const $6\n  %o2: i64[16] = const $7\n  %nine: i32[] = const [9]"
  print "  %c1: i32[1,6,14,14] = contract mul %x, %w1 [n m y x | c:1 i:5 j:5](n, c, y+i-2, x+j-2)(m, c, i, j) ; node 1 \"conv1\" (Conv)"
  print "  %a1: u2[1,6,14,14] = thresholds %c1, %t1, %b1, %s1 axis=1"
  print "  %c2: i32[1,16,7,7] = contract mul %a1, %w2 [n m y x | c:6 i:3 j:3](n, c, y*2+i-1, x*2+j-1)(m, c, i, j) ; node 2 \"conv2\" (Conv)"
  print "  %a2: u4[1,16,7,7] = requant %c2, %m2, %o2 axis=1 shift=12 lo=0 hi=15"
  print "  %c3: i32[1,16,5,5] = contract mul %a2, %w3 [n m y x | i:3 j:3](n, m, y+i, x+j)(m, i, j) ; node 3 \"depthwise\" (Conv)"
  print "  %p3: i32[1,16,3,3] = reduce add %c3 [n m y x | i:3 j:3](n, m, y+i, x+j) ; node 4 \"pool\" (AveragePool)"
  print "  %d3: i32[1,16,3,3] = map div %p3, %nine ; node 4 \"pool\" (AveragePool)"
  print "  %f: i32[1,144] = reshape %d3"
  print "  %y: i32[1,10] = contract mul %f, %w4 [n m | k:144](n, k)(m, k) ; node 5 \"fc\" (Gemm)"
  print "  return %y\n}"
  data(1, ELEM "[6,1,5,5]", 150); data(2, ELEM "[16,6,3,3]", 864); data(3, ELEM "[16,3,3]", 144); data(4, ELEM "[10,144]", 1440)
  printf "data $5: i32[6,3] = hex\n  \""
  for (i = 0; i < 18; i++) printf "%s", word(rnd(200) + 500 * (i % 3) - 300)
  printf "\"\ndata $6: i64[16] = hex\n  \""
  for (i = 0; i < 16; i++) printf "%s", long(1000 + rnd(3000))
  printf "\"\ndata $7: i64[16] = hex\n  \""
  for (i = 0; i < 16; i++) printf "%s", long(rnd(9000))
  print "\""
}
