/*
 * Summarises web-server access logs in the Combined Log Format:
 *
 *     192.0.2.1 - ada [20/Nov/2026:08:00:00 +0000] "GET /a?b HTTP/1.1" 200 512 "https://example.org/" "curl/8"
 *
 * Log on stdin, summary as JSON on stdout. Memory is bounded for any log: lines, keys and
 * the number of keys have a maximum, and excess data is counted or flagged, never dropped silently.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Servers limit a request line and a header to 8 KiB each; a line holds one of the first and two of the second. */
enum { MAX_LINE = 32 * 1024 };
/* Slots are a power of two; three quarters of them are used, so that a search stays short. */
enum { SLOTS = 1 << 15, MAX_KEYS = SLOTS / 4 * 3, KEY_BYTES = 4 << 20 };
enum { TOP = 10 };
/* From sysexits.h, which not every libc has. */
enum { EX_DATAERR = 65, EX_IOERR = 74 };

/* A piece of a line. Lines may hold any byte, 0 included, so nothing here is a C string. */
typedef struct {
    const char *at;
    size_t len;
} Text;

typedef struct {
    Text key;
    uint64_t count;
} Slot;

/* Counts per key. When the table is full, new keys are dropped. */
typedef struct {
    Slot slots[SLOTS];
    char keys[KEY_BYTES];
    size_t used_keys, used_bytes;
    bool truncated;
} Table;

typedef struct {
    uint64_t lines, malformed, bytes;
    uint64_t classes[5];
} Totals;

typedef struct {
    Text client, path;
    unsigned status;
    uint64_t bytes;
} Entry;

static Table paths, clients;
static Totals totals;

/* ---- one line ---- */

/* Takes everything up to `end` off the front of `rest`, and `end` with it. */
static bool take_until(Text *rest, char end, Text *piece)
{
    const char *found = memchr(rest->at, end, rest->len);
    if (!found)
        return false;
    *piece = (Text){rest->at, (size_t)(found - rest->at)};
    rest->at += piece->len + 1;
    rest->len -= piece->len + 1;
    return true;
}

/* Takes a word, and the space behind it. */
static bool take_word(Text *rest, Text *word)
{
    return take_until(rest, ' ', word) && word->len > 0;
}

static bool take_char(Text *rest, char expected)
{
    if (rest->len == 0 || *rest->at != expected)
        return false;
    rest->at++;
    rest->len--;
    return true;
}

/* Takes "…", in which a backslash protects the next byte. */
static bool take_quoted(Text *rest, Text *inside)
{
    if (!take_char(rest, '"'))
        return false;
    for (size_t i = 0; i < rest->len; i++) {
        if (rest->at[i] == '\\') {
            i++;
        } else if (rest->at[i] == '"') {
            *inside = (Text){rest->at, i};
            rest->at += i + 1;
            rest->len -= i + 1;
            return true;
        }
    }
    return false;
}

/* Digits only, and few enough that no sum of them overflows. */
static bool to_number(Text digits, uint64_t *number)
{
    if (digits.len == 0 || digits.len > 15)
        return false;
    *number = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(digits.at[i] - '0');
    }
    return true;
}

/* The path of "GET /a?b HTTP/1.1", without the query; empty where the client sent no such thing. */
static Text path_of(Text request)
{
    Text method, target;
    if (!take_word(&request, &method) || !take_word(&request, &target))
        return (Text){0};
    const char *query = memchr(target.at, '?', target.len);
    if (query)
        target.len = (size_t)(query - target.at);
    return target;
}

static bool parse(Text line, Entry *entry)
{
    Text ident, user, time, request, status, bytes, referer, agent;
    uint64_t code;
    bool shaped = take_word(&line, &entry->client) && take_word(&line, &ident) &&
                  /* A user's name may hold spaces, so what ends it is the bracket. */
                  take_until(&line, '[', &user) && user.len > 1 && take_until(&line, ']', &time) &&
                  take_char(&line, ' ') && take_quoted(&line, &request) && take_char(&line, ' ') &&
                  take_word(&line, &status) && take_word(&line, &bytes) && take_quoted(&line, &referer) &&
                  take_char(&line, ' ') && take_quoted(&line, &agent) && line.len == 0;
    if (!shaped || status.len != 3 || !to_number(status, &code) || code < 100 || code > 599)
        return false;
    entry->bytes = 0;
    bool none = bytes.len == 1 && *bytes.at == '-';
    if (!none && !to_number(bytes, &entry->bytes))
        return false;
    entry->status = (unsigned)code;
    entry->path = path_of(request);
    return true;
}

/* ---- counting ---- */

/* FNV-1a. Keys that are made to collide cost time, which the host limits. */
static uint32_t hash(Text key)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (unsigned char)key.at[i]) * 16777619u;
    return h;
}

static void count(Table *table, Text key)
{
    size_t at = hash(key) % SLOTS;
    for (; table->slots[at].count; at = (at + 1) % SLOTS) {
        Slot *slot = &table->slots[at];
        if (slot->key.len == key.len && memcmp(slot->key.at, key.at, key.len) == 0) {
            slot->count++;
            return;
        }
    }
    if (table->used_keys == MAX_KEYS || key.len > KEY_BYTES - table->used_bytes) {
        table->truncated = true;
        return;
    }
    char *copy = table->keys + table->used_bytes;
    memcpy(copy, key.at, key.len);
    table->slots[at] = (Slot){{copy, key.len}, 1};
    table->used_bytes += key.len;
    table->used_keys++;
}

static void add(Text line)
{
    Entry entry;
    totals.lines++;
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    if (!parse(line, &entry)) {
        totals.malformed++;
        return;
    }
    totals.bytes += entry.bytes;
    totals.classes[entry.status / 100 - 1]++;
    count(&clients, entry.client);
    if (entry.path.len > 0)
        count(&paths, entry.path);
}

/* A line that is too long is dropped and counts as malformed. */
static void read_log(FILE *log)
{
    static char line[MAX_LINE];
    size_t len = 0;
    bool begun = false, too_long = false;
    for (int c; (c = getc(log)) != EOF;) {
        begun = c != '\n';
        if (begun && len < MAX_LINE) {
            line[len++] = (char)c;
        } else if (begun) {
            too_long = true;
        } else {
            add((Text){line, too_long ? 0 : len});
            len = 0;
            too_long = false;
        }
    }
    if (begun)
        add((Text){line, too_long ? 0 : len});
}

/* ---- the summary ---- */

/* The length of the UTF-8 sequence at the front, or 0 if there is none (RFC 3629). */
static size_t sequence(const unsigned char *at, size_t len)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t need = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    if (need > len)
        return 0;
    switch (at[0]) {
    case 0xe0: low = 0xa0; break;  /* overlong */
    case 0xed: high = 0x9f; break; /* surrogates */
    case 0xf0: low = 0x90; break;  /* overlong */
    case 0xf4: high = 0x8f; break; /* above U+10FFFF */
    }
    for (size_t i = 1; i < need; i++, low = 0x80, high = 0xbf)
        if (at[i] < low || at[i] > high)
            return 0;
    return need;
}

/* JSON is UTF-8 and logs are not, so a byte that belongs to no character becomes U+FFFD. */
static void print_string(Text text)
{
    const unsigned char *at = (const unsigned char *)text.at;
    putchar('"');
    for (size_t i = 0, step; i < text.len; i += step) {
        size_t found = sequence(at + i, text.len - i);
        step = found ? found : 1;
        if (!found)
            fputs("\\ufffd", stdout);
        else if (at[i] == '"' || at[i] == '\\')
            printf("\\%c", at[i]);
        else if (at[i] < 0x20 || at[i] == 0x7f)
            printf("\\u%04x", at[i]);
        else
            fwrite(at + i, 1, found, stdout);
    }
    putchar('"');
}

/* The most frequent first; of equals the first in byte order, so that the same log gives the same summary. */
static int by_rank(const void *left, const void *right)
{
    const Slot *a = left, *b = right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    size_t shorter = a->key.len < b->key.len ? a->key.len : b->key.len;
    int order = shorter ? memcmp(a->key.at, b->key.at, shorter) : 0;
    return order ? order : (a->key.len > b->key.len) - (a->key.len < b->key.len);
}

/* Reorders the table's slots: nothing can be counted after this. */
static void print_top(const char *list, const char *name, Table *table)
{
    Slot *slots = table->slots;
    size_t used = 0;
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].count)
            slots[used++] = slots[i];
    qsort(slots, used, sizeof(Slot), by_rank);
    printf(",\"%s\":[", list);
    for (size_t i = 0; i < TOP && i < used; i++) {
        printf("%s{\"%s\":", i ? "," : "", name);
        print_string(slots[i].key);
        printf(",\"requests\":%llu}", (unsigned long long)slots[i].count);
    }
    putchar(']');
}

static void print_summary(void)
{
    printf("{\"lines\":%llu,\"malformed\":%llu,\"bytes\":%llu,\"status\":{", (unsigned long long)totals.lines,
           (unsigned long long)totals.malformed, (unsigned long long)totals.bytes);
    for (int i = 0; i < 5; i++)
        printf("%s\"%dxx\":%llu", i ? "," : "", i + 1, (unsigned long long)totals.classes[i]);
    printf("},\"distinct_paths\":%zu,\"distinct_clients\":%zu,\"truncated\":%s", paths.used_keys, clients.used_keys,
           paths.truncated || clients.truncated ? "true" : "false");
    print_top("top_paths", "path", &paths);
    print_top("top_clients", "client", &clients);
    puts("}");
}

int main(void)
{
    read_log(stdin);
    if (ferror(stdin)) {
        fputs("cannot read the log\n", stderr);
        return EX_IOERR;
    }
    if (totals.lines > 0 && totals.malformed == totals.lines) {
        fprintf(stderr, "none of %llu lines is in the Combined Log Format\n", (unsigned long long)totals.lines);
        return EX_DATAERR;
    }
    print_summary();
    if (fflush(stdout) || ferror(stdout)) {
        fputs("cannot write the summary\n", stderr);
        return EX_IOERR;
    }
    return 0;
}
