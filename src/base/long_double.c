/* INCRBYFLOAT adds in the C type `long double`, which Rust lacks. Values travel by pointer. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* `text` ends with NUL after `len` bytes. 1 when all of it is a number in range. */
int rekeep_ld_parse(const char *text, size_t len, long double *out) {
    char *end;
    errno = 0;
    *out = strtold(text, &end);
    if (end != text + len || isnan(*out)) return 0;
    return !(errno == ERANGE && (isinf(*out) || *out == 0));
}

int rekeep_d_parse(const char *text, size_t len, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    if (end != text + len || isnan(*out)) return 0;
    return !(errno == ERANGE && (isinf(*out) || *out == 0));
}

void rekeep_ld_add(long double *sum, const long double *term) { *sum += *term; }

int rekeep_ld_finite(const long double *value) { return isfinite(*value) ? 1 : 0; }

int rekeep_ld_format(const long double *value, char *out, size_t room) {
    return snprintf(out, room, "%.17Lf", *value);
}
