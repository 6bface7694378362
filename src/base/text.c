/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Length of the valid UTF-8 sequence at s, 0 if there is none. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	size_t len, i;
	uint32_t c;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		len = 2;
		c = s[0] & 0x1f;
	} else if ((s[0] & 0xf0) == 0xe0) {
		len = 3;
		c = s[0] & 0x0f;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		len = 4;
		c = s[0] & 0x07;
	} else {
		return 0;
	}
	if (len > n)
		return 0;
	for (i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (len == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff)))
		return 0;
	if (len == 4 && (c < 0x10000 || c > 0x10ffff))
		return 0;
	return len;
}

bool text_is_utf8(const char *s, size_t n)
{
	while (n) {
		size_t len = utf8_len((const unsigned char *)s, n);

		if (!len)
			return false;
		s += len;
		n -= len;
	}
	return true;
}

void text_escape(const char *s, size_t n, char *out, size_t size)
{
	size_t o = 0, i = 0;

	if (!size)
		return;
	while (i < n) {
		unsigned char c = (unsigned char)s[i];
		size_t len = utf8_len((const unsigned char *)s + i, n - i);
		bool plain = len && c >= 0x20 && c != 0x7f &&
			     !(len == 2 && c == 0xc2 && (unsigned char)s[i + 1] < 0xa0);

		if (o + (plain ? len : 4) >= size)
			break;
		if (plain) {
			memcpy(out + o, s + i, len);
			o += len;
			i += len;
		} else {
			o += (size_t)snprintf(out + o, size - o, "\\x%02x", c);
			i++;
		}
	}
	out[o] = 0;
}

/* Reads "12" or "1.5" as value * scale / 10^digits without floating point. */
static int parse_decimal(const char **s, uint64_t scale, uint64_t *ret)
{
	uint64_t whole = 0, frac = 0, div = 1;
	const char *p = *s;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(whole, 10u, &whole) ||
		    __builtin_add_overflow(whole, (unsigned)(*p - '0'), &whole))
			return -ERANGE;
	if (*p == '.') {
		p++;
		if (!isdigit((unsigned char)*p))
			return -EINVAL;
		for (; isdigit((unsigned char)*p); p++)
			if (div < 1000000000) {
				frac = frac * 10 + (unsigned)(*p - '0');
				div *= 10;
			}
	}
	if (__builtin_mul_overflow(whole, scale, &whole) ||
	    __builtin_add_overflow(whole, (uint64_t)((unsigned __int128)frac * scale / div), ret))
		return -ERANGE;
	*s = p;
	return 0;
}

static const char *skip_number(const char *s)
{
	while (isdigit((unsigned char)*s) || *s == '.')
		s++;
	while (*s == ' ')
		s++;
	return s;
}

/* The number before unit, times scale. *ret stays as it was unless it fits. */
static int parse_scaled(const char *s, const char *unit, uint64_t scale, uint64_t *ret)
{
	uint64_t v = 0;
	int r = parse_decimal(&s, scale, &v);

	if (r < 0)
		return r;
	while (*s == ' ')
		s++;
	if (s != unit)
		return -EINVAL;
	if (v > INT64_MAX)
		return -ERANGE;
	*ret = v;
	return 0;
}

int text_parse_size(const char *s, uint64_t *ret_bytes)
{
	static const char letters[] = "kmgtp";
	const char *unit = skip_number(s), *p = unit;
	uint64_t scale = 1;

	if (*p) {
		const char *l = strchr(letters, tolower((unsigned char)*p));

		if (!l) {
			if (strcasecmp(p, "b") != 0)
				return -EINVAL;
		} else {
			scale = UINT64_C(1) << (10 * (l - letters + 1));
			if (p[1] && strcasecmp(p + 1, "ib") != 0 && strcasecmp(p + 1, "b") != 0)
				return -EINVAL;
		}
	}
	return parse_scaled(s, unit, scale, ret_bytes);
}

int text_parse_time(const char *s, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"", 1000000000},
		     {"s", 1000000000},
		     {"ms", 1000000},
		     {"us", 1000},
		     {"ns", 1},
		     {"m", 60000000000},
		     {"min", 60000000000},
		     {"h", 3600000000000},
		     {"d", 86400000000000}};
	const char *unit = skip_number(s);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(unit, units[i].name) == 0)
			return parse_scaled(s, unit, units[i].ns, ret_ns);
	return -EINVAL;
}

int text_parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (unsigned)(*s - '0'), &v))
			return -ERANGE;
	}
	if (v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

void text_format_size(uint64_t bytes, char *out, size_t size)
{
	static const char *const units[] = {"", " KiB", " MiB", " GiB", " TiB", " PiB"};
	unsigned u = 0;

	while (u < 5 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	snprintf(out, size, "%llu%s", (unsigned long long)bytes, units[u]);
}

bool text_is_name(const char *s)
{
	size_t n = strlen(s);

	if (n < 1 || n > 63 || !isalnum((unsigned char)s[0]))
		return false;
	return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

/* Levenshtein distance, bounded inputs. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64], la = (unsigned)strlen(a), lb = (unsigned)strlen(b);

	if (la > 62 || lb > 62)
		return 64;
	for (unsigned j = 0; j <= lb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned diag = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned up = row[j], v = diag + (a[i - 1] != b[j - 1]);

			if (up + 1 < v)
				v = up + 1;
			if (row[j - 1] + 1 < v)
				v = row[j - 1] + 1;
			row[j] = v;
			diag = up;
		}
	}
	return row[lb];
}

const char *text_nearest(const char *s, const char *const *list, size_t n)
{
	const char *best = NULL;
	unsigned best_d = (unsigned)strlen(s) / 3 + 1;

	for (size_t i = 0; i < n; i++) {
		unsigned d = distance(s, list[i]);

		if (d < best_d || (d == best_d && !best)) {
			best_d = d;
			best = list[i];
		}
	}
	return best;
}

char *text_base64(const void *data, size_t n)
{
	static const char digit[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *in = data;
	char *out = malloc((n + 2) / 3 * 4 + 1), *o = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16;

		if (i + 1 < n)
			v |= (uint32_t)in[i + 1] << 8;
		if (i + 2 < n)
			v |= in[i + 2];
		*o++ = digit[v >> 18];
		*o++ = digit[v >> 12 & 63];
		*o++ = i + 1 < n ? digit[v >> 6 & 63] : '=';
		*o++ = i + 2 < n ? digit[v & 63] : '=';
	}
	*o = 0;
	return out;
}
