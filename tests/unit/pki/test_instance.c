/* Instance identity documents, genuine in form: signed with keys that are made here and pinned as two regions'. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "pki/instance.h"

#define NOW    (INT64_C(1790000000) * SK_NS_PER_S) /* 2026-09-21T14:13:20Z */
#define MINUTE (60 * SK_NS_PER_S)
#define NOCERT (PKCS7_NOCERTS | PKCS7_BINARY)

struct region {
    EVP_PKEY *key;
    X509 *cert;
};

static char dir[] = "/tmp/sekisho-instance-XXXXXX", certs_path[64];
static struct region ireland, virginia, evil, stranger; /* the last two are the attacker's */
static struct instance_certs *certs;
static const struct instance_policy any = {.max_age = 5 * MINUTE};

/* Self-signed; the same issuer for all, and the same serial number when the attacker likes. */
static struct region make_region(long serial)
{
    struct region r = {.key = EVP_RSA_gen(2048), .cert = X509_new()};
    X509_NAME *name = X509_get_subject_name(r.cert);
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Amazon Web Services LLC", -1, -1, 0);
    X509_set_issuer_name(r.cert, name);
    ASN1_INTEGER_set(X509_get_serialNumber(r.cert), serial);
    ASN1_TIME_set(X509_getm_notBefore(r.cert), 1);
    ASN1_TIME_set(X509_getm_notAfter(r.cert), 2000000000);
    X509_set_pubkey(r.cert, r.key);
    assert_true(X509_sign(r.cert, r.key, EVP_sha256()) > 0);
    return r;
}

static void free_region(struct region *r)
{
    EVP_PKEY_free(r->key);
    X509_free(r->cert);
}

static void put_certs(FILE *f, const char *region, X509 *cert)
{
    fprintf(f, "# region: %s\n", region);
    PEM_write_X509(f, cert);
}

static int setup(void **state)
{
    (void)state;
    int line;
    if (mkdtemp(dir) == NULL)
        return -1;
    ireland = make_region(4711);
    virginia = make_region(4711);
    evil = make_region(4711);
    stranger = make_region(4712);
    snprintf(certs_path, sizeof(certs_path), "%s/certs.pem", dir);
    FILE *f = fopen(certs_path, "w");
    fputs("# Certificates for a test.\n\n", f);
    put_certs(f, "us-east-1", virginia.cert);
    put_certs(f, "eu-west-1", ireland.cert);
    fclose(f);
    return instance_certs_open(certs_path, &certs, &line);
}

static int teardown(void **state)
{
    (void)state;
    char cmd[64];
    instance_certs_free(certs);
    free_region(&ireland);
    free_region(&virginia);
    free_region(&evil);
    free_region(&stranger);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

/* The document as IMDS gives it (kernelId and the like are null there). */
static const char *document(const char *region, int64_t pending)
{
    static char buf[1024];
    char when[32];
    time_t t = (time_t)(pending / SK_NS_PER_S);
    struct tm tm;
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    snprintf(buf, sizeof(buf),
             "{\n  \"accountId\" : \"123456789012\",\n  \"architecture\" : \"x86_64\",\n"
             "  \"availabilityZone\" : \"%sb\",\n  \"billingProducts\" : null,\n  \"imageId\" : \"ami-5fb8c835\",\n"
             "  \"instanceId\" : \"i-1234567890abcdef0\",\n  \"instanceType\" : \"t2.micro\",\n  \"kernelId\" : null,\n"
             "  \"pendingTime\" : \"%s\",\n  \"privateIp\" : \"10.158.112.84\",\n  \"region\" : \"%s\",\n"
             "  \"version\" : \"2017-09-30\"\n}",
             region, when, region);
    return buf;
}

static PKCS7 *sign_with(const struct region *r, const EVP_MD *md, const void *p, size_t len, int flags)
{
    BIO *in = BIO_new_mem_buf(p, (int)len);
    PKCS7 *p7 = PKCS7_sign(NULL, NULL, NULL, in, flags | PKCS7_PARTIAL);
    assert_non_null(p7);
    assert_non_null(PKCS7_sign_add_signer(p7, r->cert, r->key, md, flags));
    assert_int_equal(PKCS7_final(p7, in, flags), 1);
    BIO_free(in);
    return p7;
}

/* Base64 in lines of 64, as IMDS has it. The caller frees. */
static char *text_of(PKCS7 *p7)
{
    BIO *mem = BIO_new(BIO_s_mem()), *b64 = BIO_push(BIO_new(BIO_f_base64()), mem);
    char *p;
    assert_int_equal(i2d_PKCS7_bio(b64, p7), 1);
    (void)BIO_flush(b64);
    long len = BIO_get_mem_data(mem, &p);
    char *out = strndup(p, (size_t)len);
    BIO_free_all(b64);
    PKCS7_free(p7);
    return out;
}

static char *signed_by(const struct region *r, const char *doc, int flags)
{
    return text_of(sign_with(r, EVP_sha256(), doc, strlen(doc), flags));
}

static int verify(const struct instance_policy *p, const char *text, struct instance_doc *d, const char **why)
{
    return instance_verify(certs, p, text, strlen(text), NOW, d, why);
}

/* Frees text. */
static void assert_refused(const struct instance_policy *p, char *text, int rc, const char *part)
{
    struct instance_doc d;
    const char *why;
    assert_int_equal(verify(p, text, &d, &why), rc);
    if (strstr(why, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, why);
    assert_string_equal(d.instance_id, "");
    free(text);
}

static void test_genuine(void **state)
{
    (void)state;
    struct instance_doc d;
    const char *why;
    char *text = signed_by(&ireland, document("eu-west-1", NOW - MINUTE), NOCERT);
    assert_int_equal(verify(&any, text, &d, &why), SK_OK);
    assert_string_equal(d.instance_id, "i-1234567890abcdef0");
    assert_string_equal(d.account, "123456789012");
    assert_string_equal(d.region, "eu-west-1");
    assert_string_equal(d.image_id, "ami-5fb8c835");
    assert_string_equal(d.instance_type, "t2.micro");
    assert_string_equal(d.private_ip, "10.158.112.84");
    assert_true(d.pending == NOW - MINUTE);
    free(text);
}

/* Without line breaks, and with those of Windows. */
static void test_line_breaks(void **state)
{
    (void)state;
    struct instance_doc d;
    const char *why;
    char *text = signed_by(&virginia, document("us-east-1", NOW), NOCERT), *one = strdup(text), *crlf;
    size_t n = 0, m = 0;
    crlf = (char *)malloc(2 * strlen(text) + 1);
    for (const char *s = text; *s != '\0'; s++) {
        if (*s != '\n')
            one[n++] = *s;
        else
            crlf[m++] = '\r';
        crlf[m++] = *s;
    }
    one[n] = crlf[m] = '\0';
    assert_int_equal(verify(&any, one, &d, &why), SK_OK);
    assert_int_equal(verify(&any, crlf, &d, &why), SK_OK);
    free(text);
    free(one);
    free(crlf);
}

/* The certificate that comes inside is the attacker's, with the name and number of the region's, or with his own. */
static void test_embedded_certificate(void **state)
{
    (void)state;
    const char *doc = document("eu-west-1", NOW);
    assert_refused(&any, signed_by(&evil, doc, PKCS7_BINARY), SK_EPERM, "not signed");
    assert_refused(&any, signed_by(&stranger, doc, PKCS7_BINARY), SK_EPERM, "not signed");
    assert_refused(&any, signed_by(&evil, doc, NOCERT), SK_EPERM, "not signed");
    assert_refused(&any, signed_by(&stranger, doc, NOCERT), SK_EPERM, "not signed");
    assert_refused(&any, signed_by(&evil, doc, PKCS7_BINARY | PKCS7_NOATTR), SK_EPERM, "not signed");
    /* A genuine one with certificates inside is as good as without. */
    struct instance_doc d;
    const char *why;
    char *text = signed_by(&ireland, doc, PKCS7_BINARY);
    assert_int_equal(verify(&any, text, &d, &why), SK_OK);
    free(text);
}

/* Why PKCS7_NOINTERN: the way that the provider documents takes the forgery. */
static void test_documented_way_is_fooled(void **state)
{
    (void)state;
    if (system("openssl version >/dev/null 2>&1") != 0) {
        print_message("no openssl program\n");
        skip();
    }
    char path[128], cmd[512], *forged = signed_by(&stranger, document("eu-west-1", NOW), PKCS7_BINARY);
    snprintf(path, sizeof(path), "%s/forged", dir);
    FILE *f = fopen(path, "w");
    fprintf(f, "-----BEGIN PKCS7-----\n%s-----END PKCS7-----\n", forged);
    fclose(f);
    snprintf(path, sizeof(path), "%s/pinned.pem", dir);
    f = fopen(path, "w");
    PEM_write_X509(f, ireland.cert);
    fclose(f);
    snprintf(cmd, sizeof(cmd),
             "openssl smime -verify -in %s/forged -inform PEM -certfile %s/pinned.pem -noverify >/dev/null 2>&1", dir,
             dir);
    assert_int_equal(system(cmd), 0);
    snprintf(
        cmd, sizeof(cmd),
        "openssl smime -verify -in %s/forged -inform PEM -certfile %s/pinned.pem -noverify -nointern >/dev/null 2>&1",
        dir, dir);
    assert_int_not_equal(system(cmd), 0);
    assert_refused(&any, forged, SK_EPERM, "not signed");
}

static void test_other_region(void **state)
{
    (void)state;
    assert_refused(&any, signed_by(&virginia, document("eu-west-1", NOW), NOCERT), SK_EPERM, "another region");
    assert_refused(&any, signed_by(&ireland, document("ap-south-1", NOW), NOCERT), SK_EPERM, "another region");
}

static void test_times(void **state)
{
    (void)state;
    struct instance_policy forever = {.max_age = 0};
    struct instance_doc d;
    const char *why;
    assert_refused(&any, signed_by(&ireland, document("eu-west-1", NOW - 5 * MINUTE - SK_NS_PER_S), NOCERT), SK_EPERM,
                   "too old");
    assert_refused(&any, signed_by(&ireland, document("eu-west-1", NOW + MINUTE + SK_NS_PER_S), NOCERT), SK_EPERM,
                   "future");
    assert_refused(&forever, signed_by(&ireland, document("eu-west-1", NOW + MINUTE + SK_NS_PER_S), NOCERT), SK_EPERM,
                   "future");
    char *edge = signed_by(&ireland, document("eu-west-1", NOW + MINUTE), NOCERT);
    assert_int_equal(verify(&any, edge, &d, &why), SK_OK);
    free(edge);
    char *old = signed_by(&ireland, document("eu-west-1", NOW - 9999 * MINUTE), NOCERT);
    assert_int_equal(verify(&forever, old, &d, &why), SK_OK);
    free(old);
}

static void test_policy(void **state)
{
    (void)state;
    const char *const accounts[] = {"111111111111", "123456789012"}, *const regions[] = {"us-east-1", "eu-west-1"};
    struct instance_policy p = {.accounts = accounts, .naccounts = 2, .regions = regions, .nregions = 2};
    struct instance_doc d;
    const char *why;
    char *text = signed_by(&ireland, document("eu-west-1", NOW), NOCERT);
    assert_int_equal(verify(&p, text, &d, &why), SK_OK);
    p.naccounts = 1;
    assert_int_equal(verify(&p, text, &d, &why), SK_EPERM);
    assert_non_null(strstr(why, "account"));
    p.naccounts = 2;
    p.nregions = 1;
    assert_refused(&p, text, SK_EPERM, "region that is allowed");
}

/* The content is what was signed: not a byte of it can be another. */
static void test_changed(void **state)
{
    (void)state;
    const char *doc = document("eu-west-1", NOW);
    PKCS7 *p7 = sign_with(&ireland, EVP_sha256(), doc, strlen(doc), NOCERT);
    ASN1_OCTET_STRING *content = p7->d.sign->contents->d.data;
    char *at = strstr((char *)content->data, "i-1234567890");
    assert_non_null(at);
    at[3] ^= 1;
    assert_refused(&any, text_of(p7), SK_EPERM, "not signed");
}

static void test_detached(void **state)
{
    (void)state;
    assert_refused(&any, signed_by(&ireland, document("eu-west-1", NOW), NOCERT | PKCS7_DETACHED), SK_EINVAL,
                   "no identity");
}

static void test_weak_digest(void **state)
{
    (void)state;
    const char *doc = document("eu-west-1", NOW);
    assert_refused(&any, text_of(sign_with(&ireland, EVP_sha1(), doc, strlen(doc), NOCERT)), SK_EINVAL, "no identity");
    assert_refused(&any, text_of(sign_with(&ireland, EVP_md5(), doc, strlen(doc), NOCERT)), SK_EINVAL, "no identity");
}

/* Two signers: one of them genuine, for whatever he signed. */
static void test_two_signers(void **state)
{
    (void)state;
    const char *doc = document("eu-west-1", NOW);
    BIO *in = BIO_new_mem_buf(doc, -1);
    PKCS7 *p7 = PKCS7_sign(NULL, NULL, NULL, in, NOCERT | PKCS7_PARTIAL);
    assert_non_null(PKCS7_sign_add_signer(p7, evil.cert, evil.key, EVP_sha256(), NOCERT));
    assert_non_null(PKCS7_sign_add_signer(p7, ireland.cert, ireland.key, EVP_sha256(), NOCERT));
    assert_int_equal(PKCS7_final(p7, in, NOCERT), 1);
    BIO_free(in);
    assert_refused(&any, text_of(p7), SK_EINVAL, "no identity");
}

static void test_no_signer(void **state)
{
    (void)state;
    const char *doc = document("eu-west-1", NOW);
    BIO *in = BIO_new_mem_buf(doc, -1);
    PKCS7 *p7 = PKCS7_sign(NULL, NULL, NULL, in, NOCERT | PKCS7_PARTIAL);
    assert_int_equal(PKCS7_final(p7, in, NOCERT), 1);
    BIO_free(in);
    assert_refused(&any, text_of(p7), SK_EINVAL, "no identity");
}

static void test_sizes(void **state)
{
    (void)state;
    char *huge = (char *)malloc(INSTANCE_DOC_MAX + 2), *whole = signed_by(&ireland, document("eu-west-1", NOW), NOCERT);
    memset(huge, 'A', INSTANCE_DOC_MAX + 1);
    huge[INSTANCE_DOC_MAX + 1] = '\0';
    assert_refused(&any, huge, SK_EINVAL, "no identity");
    for (size_t n = strlen(whole); n-- > 0;) {
        if (whole[n] == '\n' || whole[n] == '=')
            continue;
        char *cut = strndup(whole, n);
        assert_refused(&any, cut, SK_EINVAL, "no identity");
    }
    free(whole);
}

static void test_trailing(void **state)
{
    (void)state;
    const char *doc = document("eu-west-1", NOW);
    PKCS7 *p7 = sign_with(&ireland, EVP_sha256(), doc, strlen(doc), NOCERT);
    unsigned char *der = NULL;
    int len = i2d_PKCS7(p7, &der);
    unsigned char *longer = (unsigned char *)calloc(1, (size_t)len + 3);
    char *text = (char *)malloc((size_t)len * 2);
    memcpy(longer, der, (size_t)len);
    EVP_EncodeBlock((unsigned char *)text, longer, len + 3);
    assert_refused(&any, text, SK_EINVAL, "no identity");
    text = signed_by(&ireland, doc, NOCERT);
    char *behind;
    assert_true(asprintf(&behind, "%s!", text) > 0);
    assert_refused(&any, behind, SK_EINVAL, "no identity");
    assert_true(asprintf(&behind, "%sQUFB", text) > 0);
    assert_refused(&any, behind, SK_EINVAL, "no identity");
    free(text);
    free(longer);
    OPENSSL_free(der);
    PKCS7_free(p7);
}

/* Signed, and still no document of an instance. */
static void test_content(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"instanceId\":\"i-1234567890abcdef0\"}",
        "{\"accountId\":\"123456789012\",\"imageId\":\"a\",\"instanceId\":\"../../etc/x\",\"instanceType\":\"t\","
        "\"pendingTime\":\"2026-09-21T14:13:20Z\",\"privateIp\":\"10.0.0.1\",\"region\":\"eu-west-1\"}",
        "{\"accountId\":\"12345678901x\",\"imageId\":\"a\",\"instanceId\":\"i-1234567890abcdef0\",\"instanceType\":"
        "\"t\","
        "\"pendingTime\":\"2026-09-21T14:13:20Z\",\"privateIp\":\"10.0.0.1\",\"region\":\"eu-west-1\"}",
        "{\"accountId\":\"123456789012\",\"imageId\":\"a\",\"instanceId\":\"i-1234567890abcdef0\",\"instanceType\":"
        "\"t\","
        "\"pendingTime\":\"2026-09-21 14:13:20\",\"privateIp\":\"10.0.0.1\",\"region\":\"eu-west-1\"}",
        "{\"accountId\":\"123456789012\",\"imageId\":\"a\",\"instanceId\":\"i-1234567890abcdef0\",\"instanceType\":"
        "\"t\","
        "\"pendingTime\":\"2026-13-21T14:13:20Z\",\"privateIp\":\"10.0.0.1\",\"region\":\"eu-west-1\"}",
        "{\"accountId\":\"123456789012\",\"imageId\":\"a\",\"instanceId\":\"i-1234567890abcdef0\",\"instanceType\":"
        "\"t\","
        "\"pendingTime\":\"2026-09-21T14:13:20Z\",\"privateIp\":\"10.0.0.1\",\"region\":\"eu-west-1\","
        "\"region\":\"us-east-1\"}",
    };
    for (size_t i = 1; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(&any, signed_by(&ireland, bad[i], NOCERT), SK_EINVAL, "no identity");
}

/* Of an instance with IPv6 only there is no privateIp. */
static void test_no_private_ip(void **state)
{
    (void)state;
    struct instance_doc d;
    const char *why;
    char *text =
        signed_by(&ireland,
                  "{\"accountId\":\"123456789012\",\"imageId\":\"ami-1\",\"instanceId\":\"i-1234567890abcdef0\","
                  "\"instanceType\":\"t3.nano\",\"pendingTime\":\"2026-09-21T14:13:20Z\",\"privateIp\":null,"
                  "\"region\":\"eu-west-1\"}",
                  NOCERT);
    assert_int_equal(verify(&any, text, &d, &why), SK_OK);
    assert_string_equal(d.private_ip, "");
    assert_true(d.pending == NOW);
    free(text);
}

/* ---- the file of certificates ---- */

static int open_certs(void (*write)(FILE *f), int *line)
{
    char path[128];
    struct instance_certs *c;
    snprintf(path, sizeof(path), "%s/tried.pem", dir);
    FILE *f = fopen(path, "w");
    write(f);
    fclose(f);
    int rc = instance_certs_open(path, &c, line);
    assert_true((rc == SK_OK) == (c != NULL));
    instance_certs_free(c);
    return rc;
}

static void write_empty(FILE *f)
{
    fputs("# nothing here yet\n", f);
}

static void write_two_of_a_region(FILE *f)
{
    put_certs(f, "eu-west-1", ireland.cert);
    put_certs(f, "eu-west-1", virginia.cert);
}

static void write_no_region(FILE *f)
{
    put_certs(f, "eu-west-1", ireland.cert);
    PEM_write_X509(f, virginia.cert);
}

static void write_no_end(FILE *f)
{
    fputs("# region: eu-west-1\n-----BEGIN CERTIFICATE-----\nAAAA\n", f);
}

static void write_region_alone(FILE *f)
{
    fputs("# region: eu-west-1\n# region: eu-west-2\n", f);
}

static void write_bad_region(FILE *f)
{
    put_certs(f, "../../eu", ireland.cert);
}

static void write_bad_cert(FILE *f)
{
    fputs("\n# region: eu-west-1\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
}

static void write_garbage(FILE *f)
{
    fputs("# a\ngarbage\n", f);
}

static void test_certs(void **state)
{
    (void)state;
    int line;
    struct instance_certs *c;
    assert_int_equal(instance_certs_count(certs), 2);
    assert_int_equal(instance_certs_open("/nonexistent/x", &c, &line), SK_ENOENT);
    assert_int_equal(open_certs(write_empty, &line), SK_ENOENT);
    assert_int_equal(open_certs(write_two_of_a_region, &line), SK_OK);
    assert_int_equal(open_certs(write_no_region, &line), SK_EINVAL);
    assert_true(line > 10);
    assert_int_equal(open_certs(write_no_end, &line), SK_EINVAL);
    assert_int_equal(open_certs(write_region_alone, &line), SK_EINVAL);
    assert_int_equal(line, 2);
    assert_int_equal(open_certs(write_bad_region, &line), SK_EINVAL);
    assert_int_equal(line, 1);
    assert_int_equal(open_certs(write_bad_cert, &line), SK_EINVAL);
    assert_int_equal(line, 5);
    assert_int_equal(open_certs(write_garbage, &line), SK_EINVAL);
    assert_int_equal(line, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_genuine),
        cmocka_unit_test(test_line_breaks),
        cmocka_unit_test(test_embedded_certificate),
        cmocka_unit_test(test_documented_way_is_fooled),
        cmocka_unit_test(test_other_region),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_detached),
        cmocka_unit_test(test_weak_digest),
        cmocka_unit_test(test_two_signers),
        cmocka_unit_test(test_no_signer),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_trailing),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_no_private_ip),
        cmocka_unit_test(test_certs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
