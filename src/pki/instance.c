#include "pki/instance.h"

#include <ctype.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "certs.h"

#define FUTURE_MAX (60 * SK_NS_PER_S)                /* clocks differ */
#define FLAGS      (PKCS7_NOINTERN | PKCS7_NOVERIFY) /* never a certificate from inside; no chain: ours are pinned */

/* Base64 without what is between the lines; the length, or -1. buf holds what came in. */
static int decode_base64(const char *s, size_t len, uint8_t *buf)
{
    char text[INSTANCE_DOC_MAX + 1];
    size_t n = 0, pad = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\n' || s[i] == '\r' || s[i] == ' ' || s[i] == '\t')
            continue;
        pad += s[i] == '=';
        if (s[i] != '=' && (pad > 0 || !(isalnum((unsigned char)s[i]) || s[i] == '+' || s[i] == '/')))
            return -1;
        text[n++] = s[i];
    }
    if (n == 0 || n % 4 != 0 || pad > 2)
        return -1;
    int out = EVP_DecodeBlock(buf, (const unsigned char *)text, (int)n);
    return out < 0 ? -1 : out - (int)pad;
}

/* SignedData with data inside and one signer, who used SHA-2; nothing behind it. */
static bool is_document(PKCS7 *p7)
{
    X509_ALGOR *digest = NULL;
    if (!PKCS7_type_is_signed(p7) || p7->d.sign == NULL || p7->d.sign->contents == NULL ||
        !PKCS7_type_is_data(p7->d.sign->contents) || PKCS7_get_detached(p7))
        return false;
    STACK_OF(PKCS7_SIGNER_INFO) *signers = PKCS7_get_signer_info(p7);
    if (signers == NULL || sk_PKCS7_SIGNER_INFO_num(signers) != 1)
        return false;
    PKCS7_SIGNER_INFO_get0_algs(sk_PKCS7_SIGNER_INFO_value(signers, 0), NULL, &digest, NULL);
    const ASN1_OBJECT *o = NULL;
    X509_ALGOR_get0(&o, NULL, NULL, digest);
    int nid = OBJ_obj2nid(o);
    return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

static PKCS7 *read_document(const char *text, size_t len)
{
    uint8_t der[INSTANCE_DOC_MAX];
    int n = len <= INSTANCE_DOC_MAX ? decode_base64(text, len, der) : -1;
    const unsigned char *p = der;
    PKCS7 *p7 = n > 0 ? d2i_PKCS7(NULL, &p, n) : NULL;
    if (p7 != NULL && (p != der + n || !is_document(p7))) {
        PKCS7_free(p7);
        p7 = NULL;
    }
    ERR_clear_error();
    return p7;
}

static bool verify_with(PKCS7 *p7, X509 *cert, BIO *content)
{
    STACK_OF(X509) *one = sk_X509_new_null();
    bool ok = one != NULL && sk_X509_push(one, cert) > 0 && PKCS7_verify(p7, one, NULL, NULL, content, FLAGS) == 1;
    sk_X509_free(one);
    ERR_clear_error();
    return ok;
}

/* One certificate at a time: which one it was says which region speaks. What it signed is then in content. */
static const struct instance_cert *find_signer(const struct instance_certs *c, PKCS7 *p7, BIO *content)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (verify_with(p7, c->v[i].cert, content))
            return &c->v[i];
        (void)BIO_reset(content);
    }
    return NULL;
}

static bool take_text(const json_t *root, const char *key, char *buf, size_t cap)
{
    const json_t *v = json_object_get(root, key);
    if (!json_is_string(v) || json_string_length(v) >= cap)
        return false;
    for (const char *s = json_string_value(v); *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && strchr("-._:", *s) == NULL)
            return false;
    memcpy(buf, json_string_value(v), json_string_length(v) + 1);
    return true;
}

static bool has_form(const char *s, const char *head, const char *chars, size_t min, size_t max)
{
    size_t n = strlen(head), len = strlen(s);
    return strncmp(s, head, n) == 0 && len >= n + min && len <= n + max && strspn(s + n, chars) == len - n;
}

/* "2021-09-03T14:23:12Z" */
static bool take_time(const json_t *root, int64_t *out)
{
    char text[40], c;
    struct tm tm = {.tm_isdst = 0};
    if (!take_text(root, "pendingTime", text, sizeof(text)) ||
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%c", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec, &c) != 7 ||
        c != 'Z' || strlen(text) != 20)
        return false;
    if (tm.tm_year < 2006 || tm.tm_year > 2200 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
        tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 ||
        tm.tm_sec > 60)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *out = timegm(&tm) * SK_NS_PER_S;
    return true;
}

static bool take_fields(const json_t *root, struct instance_doc *d)
{
    return take_text(root, "instanceId", d->instance_id, sizeof(d->instance_id)) &&
           has_form(d->instance_id, "i-", "0123456789abcdef", 8, 17) &&
           take_text(root, "accountId", d->account, sizeof(d->account)) &&
           has_form(d->account, "", "0123456789", 12, 12) && take_text(root, "region", d->region, sizeof(d->region)) &&
           d->region[0] != '\0' && take_text(root, "imageId", d->image_id, sizeof(d->image_id)) &&
           take_text(root, "instanceType", d->instance_type, sizeof(d->instance_type)) &&
           (json_is_null(json_object_get(root, "privateIp")) || /* an instance with IPv6 only */
            take_text(root, "privateIp", d->private_ip, sizeof(d->private_ip))) &&
           take_time(root, &d->pending);
}

static int parse_content(BIO *content, struct instance_doc *d)
{
    char *p;
    long len = BIO_get_mem_data(content, &p);
    json_t *root = len > 0 ? json_loadb(p, (size_t)len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    memset(d, 0, sizeof(*d));
    bool ok = json_is_object(root) && take_fields(root, d);
    json_decref(root);
    return ok ? SK_OK : SK_EINVAL;
}

static bool listed(const char *const *v, unsigned n, const char *s)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(v[i], s) == 0)
            return true;
    return n == 0;
}

static const char *refusal(const struct instance_policy *p, const struct instance_doc *d, const char *signer,
                           int64_t now)
{
    if (strcmp(d->region, signer) != 0)
        return "signed by another region than the one that it names";
    if (d->pending - now > FUTURE_MAX)
        return "from the future";
    if (p->max_age > 0 && now - d->pending > p->max_age)
        return "too old";
    if (!listed(p->accounts, p->naccounts, d->account))
        return "not from an account that is allowed";
    if (!listed(p->regions, p->nregions, d->region))
        return "not from a region that is allowed";
    return NULL;
}

int instance_verify(const struct instance_certs *c, const struct instance_policy *p, const char *rsa2048, size_t len,
                    int64_t now, struct instance_doc *out, const char **why)
{
    struct instance_doc d;
    memset(out, 0, sizeof(*out));
    *why = "no identity document";
    PKCS7 *p7 = read_document(rsa2048, len);
    if (p7 == NULL)
        return SK_EINVAL;
    BIO *content = BIO_new(BIO_s_mem());
    const struct instance_cert *signer = content != NULL ? find_signer(c, p7, content) : NULL;
    int rc = content == NULL ? SK_ENOMEM : SK_OK;
    if (rc == SK_OK && signer == NULL) {
        *why = "not signed with a certificate of a known region";
        rc = SK_EPERM;
    }
    if (rc == SK_OK)
        rc = parse_content(content, &d);
    if (rc == SK_OK && (*why = refusal(p, &d, signer->region, now)) != NULL)
        rc = SK_EPERM;
    if (rc == SK_OK) {
        *out = d;
        *why = "";
    }
    BIO_free(content);
    PKCS7_free(p7);
    ERR_clear_error();
    return rc;
}
