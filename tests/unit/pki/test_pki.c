/* Keys, requests, the CA and what it signs; secrets in files; Ed25519. */
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/log.h"
#include "pki/pki.h"

#define DAY   (86400 * SK_NS_PER_S)
#define MONTH (30 * DAY)
#define AGENT "AABCDEFGHIJKLMNOPQRSTUVWXYZ"

static char dir[] = "/tmp/sekisho-pki-XXXXXX";
static int64_t now;
static struct pki_ca *ca, *other;

static char *path_of(const char *name)
{
    static char buf[4][256];
    static unsigned i;
    i = (i + 1) % 4;
    snprintf(buf[i], sizeof(buf[i]), "%s/%s", dir, name);
    return buf[i];
}

static int setup(void **state)
{
    (void)state;
    sk_log_setup("test", SK_LOG_ERROR, 0);
    now = INT64_C(1800000000) * SK_NS_PER_S;
    return mkdtemp(dir) == NULL || pki_ca_open(path_of("ca"), now, &ca) != SK_OK ||
           pki_ca_open(path_of("other"), now, &other) != SK_OK;
}

static int teardown(void **state)
{
    (void)state;
    char cmd[64];
    pki_ca_free(ca);
    pki_ca_free(other);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

static X509 *x509(const char *pem)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *c = PEM_read_bio_X509(b, NULL, NULL, NULL);
    BIO_free(b);
    assert_non_null(c);
    return c;
}

static int check_pem(const struct pki_ca *with, const char *pem, int64_t at, struct pki_cert *out)
{
    X509 *c = x509(pem);
    unsigned char *der = NULL;
    int len = i2d_X509(c, &der);
    int rc = pki_ca_check(with, der, (size_t)len, at, out);
    OPENSSL_free(der);
    X509_free(c);
    return rc;
}

static char *make_csr(void)
{
    char *key, *csr;
    assert_int_equal(pki_key_make(&key), SK_OK);
    assert_int_equal(pki_csr_make(key, "web-1", &csr), SK_OK);
    pki_wipe(key);
    return csr;
}

static char *sign(const struct pki_ca *with, const char *csr, int64_t lifetime, struct pki_cert *out)
{
    char *cert;
    const char *why;
    int rc = pki_ca_sign(with, csr, AGENT, now, lifetime, &cert, out, &why);
    if (rc != SK_OK)
        print_message("%s\n", why);
    assert_int_equal(rc, SK_OK);
    return cert;
}

static void assert_refused(const char *csr, const char *part)
{
    char *cert;
    struct pki_cert c;
    const char *why;
    assert_int_equal(pki_ca_sign(ca, csr, AGENT, now, MONTH, &cert, &c, &why), SK_EINVAL);
    assert_null(cert);
    if (strstr(why, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, why);
}

static void test_ca_files(void **state)
{
    (void)state;
    struct stat st;
    struct pki_ca *again;
    X509 *c = x509(pki_ca_pem(ca));
    assert_int_equal(stat(path_of("ca"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(path_of("ca/ca.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(X509_check_ca(c), 1);
    assert_int_equal(X509_get_pathlen(c), 0);
    assert_int_equal(X509_get_key_usage(c), KU_KEY_CERT_SIGN);
    assert_int_equal(X509_self_signed(c, 1), 1);
    assert_int_equal(pki_ca_open(path_of("ca"), now + DAY, &again), SK_OK);
    assert_string_equal(pki_ca_pem(again), pki_ca_pem(ca));
    pki_ca_free(again);
    X509_free(c);
}

/* A lost certificate is made again, and what was issued before stays good; a lost key is nobody's to replace. */
static void test_ca_half(void **state)
{
    (void)state;
    struct pki_ca *half, *again;
    struct pki_cert c;
    char *csr = make_csr();
    assert_int_equal(pki_ca_open(path_of("half"), now, &half), SK_OK);
    char *cert = sign(half, csr, MONTH, &c);
    assert_int_equal(unlink(path_of("half/ca.pem")), 0);
    assert_int_equal(pki_ca_open(path_of("half"), now + DAY, &again), SK_OK);
    assert_int_equal(check_pem(again, cert, now + DAY, &c), SK_OK);
    pki_ca_free(again);
    assert_int_equal(unlink(path_of("half/ca.key")), 0);
    assert_int_equal(pki_ca_open(path_of("half"), now, &again), SK_ENOENT);
    assert_null(again);
    assert_int_equal(link(path_of("other/ca.key"), path_of("half/ca.key")), 0);
    assert_int_equal(pki_ca_open(path_of("half"), now, &again), SK_EINVAL);
    assert_int_equal(unlink(path_of("half/ca.key")), 0);
    pki_ca_free(half);
    free(cert);
    free(csr);
}

static void test_agent_cert(void **state)
{
    (void)state;
    struct pki_cert c, read, checked;
    char *csr = make_csr(), *cert = sign(ca, csr, MONTH, &c), name[128];
    X509 *x = x509(cert);
    assert_string_equal(c.agent, AGENT);
    assert_int_equal(strlen(c.serial), 32);
    assert_true(c.not_before == now - PKI_BACKDATE && c.not_after == now + MONTH);
    assert_int_equal(pki_cert_read(cert, &read), SK_OK);
    assert_memory_equal(&read, &c, sizeof(c));
    assert_string_equal(X509_NAME_oneline(X509_get_subject_name(x), name, sizeof(name)), "/CN=" AGENT);
    assert_int_equal(X509_check_ca(x), 0);
    assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_CLIENT);
    assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
    assert_non_null(X509_get0_subject_key_id(x));
    assert_non_null(X509_get0_authority_key_id(x));
    assert_int_equal(X509_get_ext_by_NID(x, NID_subject_alt_name, -1), -1);
    assert_int_equal(check_pem(ca, cert, now, &checked), SK_OK);
    assert_memory_equal(&checked, &c, sizeof(c));
    X509_free(x);
    free(cert);
    free(csr);
}

static void test_serials_differ(void **state)
{
    (void)state;
    struct pki_cert a, b;
    char *csr = make_csr();
    free(sign(ca, csr, MONTH, &a));
    free(sign(ca, csr, MONTH, &b));
    assert_string_not_equal(a.serial, b.serial);
    free(csr);
}

static void test_check_refuses(void **state)
{
    (void)state;
    struct pki_cert c;
    char *csr = make_csr(), *cert = sign(ca, csr, MONTH, &c), *foreign = sign(other, csr, MONTH, &c);
    assert_int_equal(check_pem(ca, cert, now + MONTH, &c), SK_OK);
    assert_int_equal(check_pem(ca, cert, now + MONTH + SK_NS_PER_S, &c), SK_EEND);
    assert_string_equal(c.agent, AGENT);
    assert_int_equal(check_pem(ca, cert, now - PKI_BACKDATE - SK_NS_PER_S, &c), SK_EPERM);
    assert_string_equal(c.agent, "");
    assert_int_equal(check_pem(ca, foreign, now, &c), SK_EPERM);
    assert_int_equal(check_pem(other, cert, now, &c), SK_EPERM);
    assert_int_equal(check_pem(ca, pki_ca_pem(ca), now, &c), SK_EPERM);
    assert_int_equal(pki_ca_check(ca, "", 0, now, &c), SK_EPERM);
    assert_int_equal(pki_ca_check(ca, "0\x82", 2, now, &c), SK_EPERM);
    free(foreign);
    free(cert);
    free(csr);
}

/* Each byte of a certificate is under its signature, or the signature itself. */
static void test_check_changed(void **state)
{
    (void)state;
    struct pki_cert c;
    char *csr = make_csr(), *cert = sign(ca, csr, MONTH, &c);
    X509 *x = x509(cert);
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);
    for (int i = 0; i < len; i++) {
        der[i] ^= 0x11;
        assert_int_equal(pki_ca_check(ca, der, (size_t)len, now, &c), SK_EPERM);
        der[i] ^= 0x11;
    }
    unsigned char *longer = (unsigned char *)malloc((size_t)len + 1);
    memcpy(longer, der, (size_t)len);
    longer[len] = 0;
    assert_int_equal(pki_ca_check(ca, longer, (size_t)len + 1, now, &c), SK_EPERM);
    assert_int_equal(pki_ca_check(ca, der, (size_t)len - 1, now, &c), SK_EPERM);
    assert_int_equal(pki_ca_check(ca, der, (size_t)len, now, &c), SK_OK);
    free(longer);
    OPENSSL_free(der);
    X509_free(x);
    free(cert);
    free(csr);
}

/* Same names, same everything, another key: a CA that calls itself ours. */
static void test_check_namesake(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct pki_cert c;
    char *csr = make_csr(), *cert = sign(ca, csr, MONTH, &c), buf[8192] = "";
    X509 *x = x509(cert);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(b, x), 1);
    assert_true(BIO_read(b, buf, sizeof(buf) - 1) > 0);
    assert_int_equal(check_pem(ca, buf, now, &c), SK_EPERM);
    BIO_free(b);
    X509_free(x);
    EVP_PKEY_free(key);
    free(cert);
    free(csr);
}

static void test_server(void **state)
{
    (void)state;
    const char *const names[] = {"manager.example.com", "10.0.0.5", "2001:db8::1"};
    const char *const bad[] = {"a\nDNS:evil"}, *const comma[] = {"a,DNS:evil"}, *const star[] = {"*.example.com"};
    char *key, *cert;
    struct pki_cert c;
    assert_int_equal(pki_ca_server(ca, names, 3, now, MONTH, &key, &cert), SK_OK);
    X509 *x = x509(cert);
    assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
    assert_int_equal(X509_check_host(x, "manager.example.com", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(x, "example.com", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(x, "10.0.0.5", 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "2001:db8::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "10.0.0.6", 0), 0);
    assert_int_equal(pki_cert_fits(cert, key), SK_OK);
    assert_int_equal(check_pem(ca, cert, now, &c), SK_EPERM); /* a server is no agent */
    X509_free(x);
    pki_wipe(key);
    free(cert);
    const char *const like_an_agent[] = {AGENT};
    assert_int_equal(pki_ca_server(ca, like_an_agent, 1, now, MONTH, &key, &cert), SK_OK);
    assert_int_equal(pki_cert_read(cert, &c), SK_OK);
    assert_string_equal(c.agent, AGENT);
    assert_int_equal(check_pem(ca, cert, now, &c), SK_EPERM); /* whatever its name */
    pki_wipe(key);
    free(cert);
    assert_int_equal(pki_ca_server(ca, bad, 1, now, MONTH, &key, &cert), SK_EINVAL);
    assert_int_equal(pki_ca_server(ca, comma, 1, now, MONTH, &key, &cert), SK_EINVAL);
    assert_int_equal(pki_ca_server(ca, star, 1, now, MONTH, &key, &cert), SK_EINVAL);
    assert_int_equal(pki_ca_server(ca, names, 0, now, MONTH, &key, &cert), SK_EINVAL);
}

/* OpenSSL's own chain building agrees, for each purpose. */
static int chain_verifies(const char *pem, int purpose)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509 *root = x509(pki_ca_pem(ca)), *leaf = x509(pem);
    X509_STORE_add_cert(store, root);
    X509_STORE_CTX_init(ctx, store, leaf, NULL);
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)(now / SK_NS_PER_S));
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
    X509_STORE_CTX_set_purpose(ctx, purpose);
    int ok = X509_verify_cert(ctx);
    if (ok != 1)
        print_message("%s\n", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(root);
    X509_free(leaf);
    return ok;
}

static void test_chain(void **state)
{
    (void)state;
    const char *const names[] = {"localhost"};
    struct pki_cert c;
    char *csr = make_csr(), *agent = sign(ca, csr, MONTH, &c), *key, *server;
    assert_int_equal(pki_ca_server(ca, names, 1, now, MONTH, &key, &server), SK_OK);
    assert_int_equal(chain_verifies(agent, X509_PURPOSE_SSL_CLIENT), 1);
    assert_int_equal(chain_verifies(server, X509_PURPOSE_SSL_SERVER), 1);
    assert_int_not_equal(chain_verifies(agent, X509_PURPOSE_SSL_SERVER), 1);
    assert_int_not_equal(chain_verifies(server, X509_PURPOSE_SSL_CLIENT), 1);
    pki_wipe(key);
    free(server);
    free(agent);
    free(csr);
}

static void test_lifetime_ends_with_ca(void **state)
{
    (void)state;
    struct pki_cert c, of_ca;
    char *csr = make_csr(), *cert;
    const char *why;
    assert_int_equal(pki_cert_read(pki_ca_pem(ca), &of_ca), SK_OK);
    free(sign(ca, csr, INT64_MAX, &c));
    assert_true(c.not_after == of_ca.not_after);
    assert_int_equal(pki_ca_sign(ca, csr, AGENT, of_ca.not_after, MONTH, &cert, &c, &why), SK_EINVAL);
    assert_int_equal(pki_ca_sign(ca, csr, AGENT, now, 0, &cert, &c, &why), SK_EINVAL);
    assert_int_equal(pki_ca_sign(ca, csr, "web-1", now, MONTH, &cert, &c, &why), SK_EINVAL);
    free(csr);
}

/* ---- requests of an enemy ---- */

static char *csr_text(X509_REQ *req)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p;
    assert_int_equal(PEM_write_bio_X509_REQ(b, req), 1);
    long len = BIO_get_mem_data(b, &p);
    char *out = strndup(p, (size_t)len);
    BIO_free(b);
    return out;
}

/* Signed by `by`, with key's public half in it. */
static char *csr_of(EVP_PKEY *key, EVP_PKEY *by, const EVP_MD *md)
{
    X509_REQ *req = X509_REQ_new();
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (const unsigned char *)"x", -1, -1,
                               0);
    assert_int_equal(X509_REQ_set_pubkey(req, key), 1);
    assert_true(X509_REQ_sign(req, by, md) > 0);
    char *out = csr_text(req);
    X509_REQ_free(req);
    return out;
}

static void assert_key(EVP_PKEY *key, const EVP_MD *md, bool good)
{
    assert_non_null(key);
    char *csr = csr_of(key, key, md);
    struct pki_cert c;
    if (good)
        free(sign(ca, csr, MONTH, &c));
    else
        assert_refused(csr, "none of");
    free(csr);
    EVP_PKEY_free(key);
}

static void test_keys(void **state)
{
    (void)state;
    assert_key(EVP_EC_gen("P-256"), EVP_sha256(), true);
    assert_key(EVP_EC_gen("P-384"), EVP_sha384(), true);
    assert_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, true);
    assert_key(EVP_RSA_gen(2048), EVP_sha256(), true);
    assert_key(EVP_RSA_gen(1024), EVP_sha256(), false);
    assert_key(EVP_EC_gen("P-521"), EVP_sha256(), false);
    assert_key(EVP_EC_gen("P-224"), EVP_sha256(), false);
    assert_key(EVP_EC_gen("secp256k1"), EVP_sha256(), false);
    assert_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), NULL, false);
}

static void test_explicit_curve(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_int_equal(EVP_PKEY_set_utf8_string_param(key, "encoding", "explicit"), 1);
    assert_key(key, EVP_sha256(), false);
}

static void test_wrong_signature(void **state)
{
    (void)state;
    EVP_PKEY *a = EVP_EC_gen("P-256"), *b = EVP_EC_gen("P-256");
    char *csr = csr_of(a, b, EVP_sha256()), *weak = csr_of(a, a, EVP_sha1());
    assert_refused(csr, "its own key");
    assert_refused(weak, "not accepted");
    free(weak);
    free(csr);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
}

static void add_wish(STACK_OF(X509_EXTENSION) * *wishes, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_non_null(X509v3_add_ext(wishes, e, -1));
    X509_EXTENSION_free(e);
}

/* Of what it asks for it gets nothing. */
static void test_wishes(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *req = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *wishes = NULL;
    X509_NAME *name = X509_REQ_get_subject_name(req);
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"operators", -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"AAAAAAAAAAAAAAAAAAAAAAAAAAA", -1, -1,
                               0);
    add_wish(&wishes, NID_basic_constraints, "critical,CA:TRUE");
    add_wish(&wishes, NID_key_usage, "keyCertSign,cRLSign");
    add_wish(&wishes, NID_ext_key_usage, "serverAuth,clientAuth");
    add_wish(&wishes, NID_subject_alt_name, "DNS:manager.example.com");
    assert_int_equal(X509_REQ_add_extensions(req, wishes), 1);
    assert_int_equal(X509_REQ_set_pubkey(req, key), 1);
    assert_true(X509_REQ_sign(req, key, EVP_sha256()) > 0);
    struct pki_cert c;
    char *csr = csr_text(req), *cert = sign(ca, csr, MONTH, &c), subject[128];
    X509 *x = x509(cert);
    assert_string_equal(X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof(subject)), "/CN=" AGENT);
    assert_int_equal(X509_check_ca(x), 0);
    assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_CLIENT);
    assert_int_equal(X509_get_ext_by_NID(x, NID_subject_alt_name, -1), -1);
    assert_int_equal(X509_get_ext_count(x), 5);
    X509_free(x);
    sk_X509_EXTENSION_pop_free(wishes, X509_EXTENSION_free);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    free(cert);
    free(csr);
}

static void test_no_request(void **state)
{
    (void)state;
    char *key, *huge = (char *)malloc(PKI_PEM_MAX + 100), *csr = make_csr();
    assert_int_equal(pki_key_make(&key), SK_OK);
    assert_refused("", "no certificate request");
    assert_refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "no certificate");
    assert_refused(key, "no certificate request");
    assert_refused(pki_ca_pem(ca), "no certificate request");
    memset(huge, '\n', PKI_PEM_MAX);
    strcpy(huge + PKI_PEM_MAX, "x");
    assert_refused(huge, "no certificate request");
    csr[strlen(csr) / 2] = '\0';
    assert_refused(csr, "no certificate request");
    /* OpenSSL would ask the terminal for a password. */
    assert_refused("-----BEGIN CERTIFICATE REQUEST-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
                   "AES-128-CBC,00000000000000000000000000000000\n\nAAAAAAAAAAAAAAAAAAAAAA==\n"
                   "-----END CERTIFICATE REQUEST-----\n",
                   "no certificate request");
    pki_wipe(key);
    free(huge);
    free(csr);
}

static void test_fingerprint(void **state)
{
    (void)state;
    char fp[65], pair[65], *twice;
    X509 *x = x509(pki_ca_pem(ca));
    unsigned char md[32];
    unsigned n;
    assert_int_equal(X509_digest(x, EVP_sha256(), md, &n), 1);
    assert_int_equal(pki_cert_fingerprint(pki_ca_pem(ca), fp), SK_OK);
    for (unsigned i = 0; i < n; i++)
        snprintf(pair + 2 * i, 3, "%02x", md[i]);
    assert_string_equal(fp, pair);
    assert_true(asprintf(&twice, "text before\n%s", pki_ca_pem(ca)) > 0);
    assert_int_equal(pki_cert_fingerprint(twice, pair), SK_OK);
    assert_string_equal(fp, pair);
    assert_int_equal(pki_cert_fingerprint("nothing", pair), SK_EINVAL);
    free(twice);
    X509_free(x);
}

static void test_fits(void **state)
{
    (void)state;
    char *key, *strange, *csr;
    struct pki_cert c;
    assert_int_equal(pki_key_make(&key), SK_OK);
    assert_int_equal(pki_key_make(&strange), SK_OK);
    assert_int_equal(pki_csr_make(key, "x", &csr), SK_OK);
    char *cert = sign(ca, csr, MONTH, &c);
    assert_int_equal(pki_cert_fits(cert, key), SK_OK);
    assert_int_equal(pki_cert_fits(cert, strange), SK_EPERM);
    assert_int_equal(pki_cert_fits("x", key), SK_EINVAL);
    assert_int_equal(pki_cert_fits(cert, "x"), SK_EINVAL);
    pki_wipe(key);
    pki_wipe(strange);
    free(csr);
    free(cert);
}

/* ---- files ---- */

static void put_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_secret(void **state)
{
    (void)state;
    struct stat st;
    char *text;
    umask(0);
    assert_int_equal(pki_secret_write(path_of("s"), "one", false), SK_OK);
    assert_int_equal(stat(path_of("s"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(pki_secret_write(path_of("s"), "two", false), SK_EEXIST);
    assert_int_equal(pki_secret_read(path_of("s"), &text), SK_OK);
    assert_string_equal(text, "one");
    pki_wipe(text);
    assert_int_equal(pki_secret_write(path_of("s"), "two", true), SK_OK);
    assert_int_equal(pki_secret_read(path_of("s"), &text), SK_OK);
    assert_string_equal(text, "two");
    pki_wipe(text);
    assert_int_equal(pki_secret_write(path_of("nowhere/s"), "x", true), SK_EIO);
    umask(022);
}

static void test_secret_refused(void **state)
{
    (void)state;
    char *text, big[] = "x";
    put_file(path_of("r"), "x", 0640);
    assert_int_equal(pki_secret_read(path_of("r"), &text), SK_EPERM);
    assert_null(text);
    put_file(path_of("r"), "x", 0604);
    assert_int_equal(pki_secret_read(path_of("r"), &text), SK_EPERM);
    assert_int_equal(pki_secret_read(path_of("missing"), &text), SK_ENOENT);
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_int_equal(pki_secret_read(path_of("fifo"), &text), SK_EINVAL);
    put_file(path_of("big"), big, 0600);
    assert_int_equal(truncate(path_of("big"), PKI_PEM_MAX + 1), 0);
    assert_int_equal(pki_secret_read(path_of("big"), &text), SK_EINVAL);
    assert_int_equal(truncate(path_of("big"), 3), 0);
    assert_int_equal(pki_secret_read(path_of("big"), &text), SK_EINVAL); /* NUL inside */
}

/* Nothing of a temporary file is left, whatever the outcome. */
static void test_secret_leaves_nothing(void **state)
{
    (void)state;
    char cmd[512];
    assert_int_equal(mkdir(path_of("clean"), 0700), 0);
    assert_int_equal(pki_secret_write(path_of("clean/a"), "x", false), SK_OK);
    assert_int_equal(pki_secret_write(path_of("clean/a"), "x", false), SK_EEXIST);
    assert_int_equal(pki_secret_write(path_of("clean/a"), "x", true), SK_OK);
    assert_int_equal(mkdir(path_of("clean/b"), 0700), 0);
    assert_int_equal(pki_secret_write(path_of("clean/b"), "x", true), SK_EIO);
    snprintf(cmd, sizeof(cmd), "test \"$(ls %s/clean | tr '\\n' ' ')\" = 'a b '", dir);
    assert_int_equal(system(cmd), 0);
}

/* ---- Ed25519, random, hashes ---- */

static void from_hex(const char *hex, uint8_t *out)
{
    for (; hex[0] != '\0'; hex += 2)
        sscanf(hex, "%2hhx", out++);
}

/* RFC 8032 section 7.1, test 3. */
static void test_ed25519_vector(void **state)
{
    (void)state;
    uint8_t secret[32], public_key[32], want[64], sig[64];
    const uint8_t msg[2] = {0xaf, 0x82};
    from_hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", secret);
    from_hex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", public_key);
    from_hex("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
             "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
             want);
    assert_int_equal(pki_sign(secret, msg, 2, sig), SK_OK);
    assert_memory_equal(sig, want, 64);
    assert_int_equal(pki_verify(public_key, msg, 2, sig), SK_OK);
    assert_int_equal(pki_verify(public_key, msg, 1, sig), SK_EPERM);
    sig[63] ^= 1;
    assert_int_equal(pki_verify(public_key, msg, 2, sig), SK_EPERM);
}

static void test_sign_key_file(void **state)
{
    (void)state;
    uint8_t s1[32], p1[32], s2[32], p2[32], sig[64];
    char *ec;
    assert_int_equal(pki_sign_key_open(path_of("sign.key"), false, s1, p1), SK_ENOENT);
    assert_int_equal(pki_sign_key_open(path_of("sign.key"), true, s1, p1), SK_OK);
    assert_int_equal(pki_sign_key_open(path_of("sign.key"), true, s2, p2), SK_OK);
    assert_memory_equal(s1, s2, 32);
    assert_memory_equal(p1, p2, 32);
    assert_int_equal(pki_sign(s1, "x", 1, sig), SK_OK);
    assert_int_equal(pki_verify(p2, "x", 1, sig), SK_OK);
    assert_int_equal(pki_key_make(&ec), SK_OK);
    assert_int_equal(pki_secret_write(path_of("ec.key"), ec, false), SK_OK);
    assert_int_equal(pki_sign_key_open(path_of("ec.key"), false, s1, p1), SK_EINVAL);
    assert_int_equal(chmod(path_of("sign.key"), 0644), 0);
    assert_int_equal(pki_sign_key_open(path_of("sign.key"), true, s1, p1), SK_EPERM);
    pki_wipe(ec);
}

static void test_random(void **state)
{
    (void)state;
    char a[64], b[64], id[PKI_AGENT_LEN];
    assert_int_equal(pki_random_text(32, a), SK_OK);
    assert_int_equal(pki_random_text(32, b), SK_OK);
    assert_int_equal(strlen(a), 52);
    assert_int_equal(strspn(a, "abcdefghijklmnopqrstuvwxyz234567"), 52);
    assert_string_not_equal(a, b);
    assert_int_equal(pki_random_text(PKI_RANDOM_MAX + 1, a), SK_EINVAL);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pki_agent_id(id), SK_OK);
        assert_true(pki_agent_valid(id));
    }
    char alike[PKI_AGENT_LEN];
    pki_agent_id_of("secret", "request", id);
    assert_true(pki_agent_valid(id));
    pki_agent_id_of("secret", "request", alike);
    assert_string_equal(id, alike);
    static const char *const pairs[][2] = {
        {"secreu", "request"}, {"secret", "requesu"}, {"secretr", "equest"}, {"", ""}};
    for (int i = 0; i < 4; i++) {
        pki_agent_id_of(pairs[i][0], pairs[i][1], alike);
        assert_string_not_equal(id, alike);
    }
    assert_false(pki_agent_valid(""));
    assert_false(pki_agent_valid("AABCDEFGHIJKLMNOPQRSTUVWXY"));
    assert_false(pki_agent_valid("BABCDEFGHIJKLMNOPQRSTUVWXYZ"));
    assert_false(pki_agent_valid("Aabcdefghijklmnopqrstuvwxyz"));
    assert_false(pki_agent_valid("AABCDEFGHIJKLMNOPQRSTUVWXYZZ"));
}

static void test_hash(void **state)
{
    (void)state;
    char h[65];
    pki_hash_text("abc", 3, h); /* FIPS 180-2 */
    assert_string_equal(h, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ca_files),
        cmocka_unit_test(test_ca_half),
        cmocka_unit_test(test_agent_cert),
        cmocka_unit_test(test_serials_differ),
        cmocka_unit_test(test_check_refuses),
        cmocka_unit_test(test_check_changed),
        cmocka_unit_test(test_check_namesake),
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_lifetime_ends_with_ca),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_explicit_curve),
        cmocka_unit_test(test_wrong_signature),
        cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_no_request),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_secret_refused),
        cmocka_unit_test(test_secret_leaves_nothing),
        cmocka_unit_test(test_ed25519_vector),
        cmocka_unit_test(test_sign_key_file),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
