/* Integers of exact width for C simulation without the vendor's library: ap_int<W> and ap_uint<W>, 1 <= W <= 64, with the
 * operators that Popshift's projects use and the result widths of the original as far as they fit in 64 bits (beyond, results
 * are modulo 2^64, which assignment to at most 64 bits does not show). The HLS tools use their own header of this name. */
#ifndef POPSHIFT_AP_INT_H
#define POPSHIFT_AP_INT_H

#include <stdint.h>
#include <type_traits>

namespace popshift_ap {

template <int W, bool S> struct Native { /* narrowest native type of W bits */
  typedef typename std::conditional<(W <= 8), int8_t, typename std::conditional<(W <= 16), int16_t,
    typename std::conditional<(W <= 32), int32_t, int64_t>::type>::type>::type Signed;
  typedef typename std::conditional<S, Signed, typename std::make_unsigned<Signed>::type>::type type;
};

constexpr int most64(int w) { return w > 64 ? 64 : w; }
constexpr int larger(int a, int b) { return a > b ? a : b; }

/* The low W bits, sign or zero extended. */
template <int W, bool S> constexpr typename Native<W, S>::type wrapped(uint64_t v) {
  static_assert(W >= 1 && W <= 64, "widths of 1 to 64 bits");
  return S ? (typename Native<W, S>::type)((int64_t)(v << (64 - W)) >> (64 - W))
           : (typename Native<W, S>::type)(v << (64 - W) >> (64 - W));
}

template <int W, bool S> class Int {
public:
  typedef typename std::conditional<S, int64_t, uint64_t>::type Wide;

  constexpr Int() : v(0) {}
  template <class T, class = typename std::enable_if<std::is_arithmetic<T>::value>::type>
  constexpr Int(T x) : v(wrapped<W, S>((uint64_t)x)) {}
  template <int W2, bool S2> constexpr Int(const Int<W2, S2> &x) : v(wrapped<W, S>((uint64_t)x.wide())) {}

  constexpr Wide wide() const { return (Wide)v; }
  constexpr operator typename Native<W, S>::type() const { return v; }

  constexpr Int operator~() const { return Int(~(uint64_t)wide()); }
  constexpr bool operator!() const { return v == 0; }
  constexpr Int<most64(W + 1), true> operator-() const { return Int<most64(W + 1), true>(0 - (uint64_t)wide()); }
  constexpr Int operator<<(int n) const { return n >= W ? Int() : Int((uint64_t)wide() << n); }
  constexpr Int operator>>(int n) const { return Int((uint64_t)(wide() >> (n >= 63 ? 63 : n) >> (n >= 64 ? 1 : 0))); }

private:
  typename Native<W, S>::type v;
};

/* Width of an operand among numbers of which one may be negative. */
constexpr int among(int w, bool s, bool other) { return w + (other && !s ? 1 : 0); }
#define POPSHIFT_AP_MAX larger(among(A, S, T), among(B, T, S))
#define POPSHIFT_AP_OP(op, width) \
  template <int A, bool S, int B, bool T> \
  constexpr Int<most64(width), S || T> operator op(const Int<A, S> &a, const Int<B, T> &b) { \
    return Int<most64(width), S || T>((uint64_t)a.wide() op (uint64_t)b.wide()); \
  }
POPSHIFT_AP_OP(+, POPSHIFT_AP_MAX + 1)
POPSHIFT_AP_OP(-, POPSHIFT_AP_MAX + 1)
POPSHIFT_AP_OP(*, A + B)
POPSHIFT_AP_OP(&, POPSHIFT_AP_MAX)
POPSHIFT_AP_OP(|, POPSHIFT_AP_MAX)
POPSHIFT_AP_OP(^, POPSHIFT_AP_MAX)
#undef POPSHIFT_AP_OP

/* Operands of one signedness; the divisor is not 0. */
template <int A, int B, bool S> constexpr Int<most64(A + (S ? 1 : 0)), S> operator/(const Int<A, S> &a, const Int<B, S> &b) {
  return Int<most64(A + (S ? 1 : 0)), S>(a.wide() / b.wide());
}
template <int A, int B, bool S> constexpr Int<A, S> operator%(const Int<A, S> &a, const Int<B, S> &b) {
  return Int<A, S>(a.wide() % b.wide());
}

template <int A, bool S, int B, bool T> constexpr bool less(const Int<A, S> &a, const Int<B, T> &b) {
  return S == T ? a.wide() < (typename Int<A, S>::Wide)b.wide()
                : S ? (int64_t)a.wide() < 0 || (uint64_t)a.wide() < (uint64_t)b.wide()
                    : (int64_t)b.wide() >= 0 && (uint64_t)a.wide() < (uint64_t)b.wide();
}
template <int A, bool S, int B, bool T> constexpr bool equal(const Int<A, S> &a, const Int<B, T> &b) { return !less(a, b) && !less(b, a); }

#define POPSHIFT_AP_TEST(op, text) \
  template <int A, bool S, int B, bool T> constexpr bool operator op(const Int<A, S> &a, const Int<B, T> &b) { return text; } \
  template <int A, bool S, class N, class = typename std::enable_if<std::is_integral<N>::value>::type> \
  constexpr bool operator op(const Int<A, S> &a, N n) { return a op Int<64, std::is_signed<N>::value>(n); } \
  template <int A, bool S, class N, class = typename std::enable_if<std::is_integral<N>::value>::type> \
  constexpr bool operator op(N n, const Int<A, S> &b) { return Int<64, std::is_signed<N>::value>(n) op b; }
POPSHIFT_AP_TEST(<, less(a, b))
POPSHIFT_AP_TEST(>, less(b, a))
POPSHIFT_AP_TEST(<=, !less(b, a))
POPSHIFT_AP_TEST(>=, !less(a, b))
POPSHIFT_AP_TEST(==, equal(a, b))
POPSHIFT_AP_TEST(!=, !equal(a, b))
#undef POPSHIFT_AP_TEST
#undef POPSHIFT_AP_MAX

} /* namespace popshift_ap */

template <int W> class ap_int : public popshift_ap::Int<W, true> {
public:
  using popshift_ap::Int<W, true>::Int;
  constexpr ap_int() {}
  template <int W2, bool S2> constexpr ap_int(const popshift_ap::Int<W2, S2> &x) : popshift_ap::Int<W, true>(x) {}
};

template <int W> class ap_uint : public popshift_ap::Int<W, false> {
public:
  using popshift_ap::Int<W, false>::Int;
  constexpr ap_uint() {}
  template <int W2, bool S2> constexpr ap_uint(const popshift_ap::Int<W2, S2> &x) : popshift_ap::Int<W, false>(x) {}
};

#endif
