#!/usr/bin/env python3
"""Prints the polynomial coefficients of ir/math.def. Needs mpmath; run by hand, when a formula changes.

Each is the near-minimax polynomial that Chebyshev interpolation at 200 bits gives, rounded to binary64; the printed
error is that of the unrounded polynomial."""
from mpmath import (mp, mpf, asin, atan, atanh, chebyfit, cos, erf, erfc, exp, log, pi, sin, sinh, sqrt, tan)

mp.prec = 200
TINY = mpf(2) ** -60


def odd(f, c1):
    """f(x) = x + x^3 * (this in z = x^2), c1 its value at 0"""
    return lambda z: (f(sqrt(z)) / sqrt(z) - 1) / z if z > TINY else mpf(c1)


def log_tail(z):
    s = sqrt(z)
    return (2 * atanh(s) - 2 * s) / (s * z) if z > TINY else mpf(2) / 3


def erfcx(t):
    x = 4 * (1 + t) / (1 - t)
    return exp(x * x) * erfc(x)


quarter = (pi / 4) ** 2 * mpf("1.001")
half_ln2 = log(2) / 2 * mpf("1.0001")
ROWS = (
    ("EXP_Q", lambda r: (exp(r) - 1 - r) / r ** 2 if abs(r) > TINY else mpf(0.5), (-half_ln2, half_ln2), 10),
    ("LOG_R", log_tail, (0, (3 - 2 * sqrt(2)) ** 2 * mpf("1.0001")), 8),
    ("SIN_S", odd(sin, -mpf(1) / 6), (0, quarter), 6),
    ("COS_C", lambda z: (cos(sqrt(z)) - 1 + z / 2) / z ** 2 if z > TINY else mpf(1) / 24, (0, quarter), 6),
    ("ASIN_R", odd(asin, mpf(1) / 6), (0, mpf(0.25)), 13),
    ("ATAN_R", odd(atan, -mpf(1) / 3), (0, tan(pi / 8) ** 2 * mpf("1.0001")), 12),
    ("SINH_R", odd(sinh, mpf(1) / 6), (0, mpf(1)), 7),
    ("ERF_P", lambda z: erf(sqrt(z)) / sqrt(z) if z > TINY else 2 / sqrt(pi), (0, mpf(1)), 12),
    ("ERFCX_Q", erfcx, ((1 - mpf(4)) / 5, (6 - mpf(4)) / 10), 17),
)


def hexes(coefs):
    line, out = " ", []
    for i, c in enumerate(coefs):
        word = " " + float(c).hex() + ("," if i + 1 < len(coefs) else ")")
        if len(line) + len(word) > 118:
            out.append(line + " \\")
            line = " "
        line += word
    return "\n".join(out + [line])


for name, f, interval, n in ROWS:
    coefs, err = chebyfit(f, interval, n, error=True)
    print(f"#define {name}(z) HORNER{n}(z, \\\n{hexes(coefs[::-1])} /* 2^{float(log(err, 2)):.1f} */")


def parts(name, x, bits):
    for i, b in enumerate(bits):
        e = int(mp.floor(log(abs(x), 2))) - b + 1
        v = mp.floor(x / mpf(2) ** e) * mpf(2) ** e if i + 1 < len(bits) else x
        print(f"#define {name}{i} F({float(v).hex()})")
        x -= mpf(float(v))


parts("LN2_", log(2), (32, 53))
parts("PIO2_", pi / 2, (33, 33, 33, 53))
