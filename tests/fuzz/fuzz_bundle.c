/* The payload of a bundle, signed here: what opens holds nothing that a bundle may not hold, and can be made again. */
#include <stdlib.h>
#include <string.h>
#include "pki/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_settings(json_t *settings)
{
    const char *key;
    json_t *v;
    json_object_foreach(settings, key, v)
    {
        must(bundle_setting_allowed(key));
        must(json_is_string(v) && strpbrk(json_string_value(v), "\n\r\x1b") == NULL);
    }
}

static void check_files(json_t *files)
{
    size_t i;
    json_t *f;
    json_array_foreach(files, i, f)
    {
        const char *name = json_string_value(json_object_get(f, "name"));
        must(name != NULL && name[0] != '.' && strchr(name, '/') == NULL && strlen(name) <= BUNDLE_NAME_MAX);
        must(json_is_string(json_object_get(f, "text")));
    }
}

static void again(const struct bundle *b, json_t *body)
{
    char *text;
    size_t len;
    struct bundle twin;
    const char *why;
    must(bundle_make(b->kind, b->version, b->created_ms, json_string_value(json_object_get(b->root, "note")), body,
                     &text, &len) == SK_OK);
    must(bundle_parse(text, len, &twin, &why) == SK_OK);
    must(twin.kind == b->kind && twin.version == b->version && twin.created_ms == b->created_ms);
    bundle_free(&twin);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t secret[PKI_ED25519_KEY] = {1};
    /* of that secret (RFC 8032) */
    static const uint8_t key[1][PKI_ED25519_KEY] = {{0xce, 0xcc, 0x15, 0x07, 0xdc, 0x1d, 0xdd, 0x72, 0x95, 0x95, 0x1c,
                                                     0x29, 0x08, 0x88, 0xf0, 0x95, 0xad, 0xb9, 0x04, 0x4d, 0x1b, 0x73,
                                                     0xd6, 0x96, 0xe6, 0xdf, 0x06, 0x5d, 0x68, 0x3b, 0xd4, 0xfc}};
    uint8_t sig[PKI_ED25519_SIG];
    struct bundle b;
    const char *why = NULL;
    must(pki_sign(secret, data, size, sig) == SK_OK);
    int rc = bundle_open(data, size, sig, key, 1, &b, &why);
    must(rc == SK_OK || rc == SK_EINVAL);
    must(why != NULL && (rc == SK_OK) == (why[0] == '\0'));
    if (rc == SK_OK) {
        json_t *body = json_object_get(b.root, b.kind == BUNDLE_POLICY ? "settings" : "files");
        if (b.kind == BUNDLE_POLICY)
            check_settings(body);
        else
            check_files(body);
        again(&b, body);
        bundle_free(&b);
    }
    sig[0] ^= 1;
    must(bundle_open(data, size, sig, key, 1, &b, &why) == SK_EPERM);
    return 0;
}
