/* Byte 0: 0 a request in PEM, 1 its DER, 2 a certificate's DER. What is signed is an agent's, whatever was asked for.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "pki/pki.h"

#define NOW   (INT64_C(1800000000) * SK_NS_PER_S)
#define AGENT "AABCDEFGHIJKLMNOPQRSTUVWXYZ"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct pki_ca *authority(void)
{
    static struct pki_ca *ca;
    if (ca == NULL) {
        char dir[] = "/tmp/sekisho-fuzz-csr-XXXXXX", path[64];
        must(mkdtemp(dir) != NULL && pki_ca_open(dir, NOW, &ca) == SK_OK);
        snprintf(path, sizeof(path), "%s/ca.pem", dir);
        unlink(path);
        snprintf(path, sizeof(path), "%s/ca.key", dir);
        unlink(path);
        rmdir(dir);
    }
    return ca;
}

static char *text_of(const uint8_t *p, size_t len, bool der)
{
    static const char head[] = "-----BEGIN CERTIFICATE REQUEST-----\n",
                      tail[] = "\n-----END CERTIFICATE REQUEST-----\n";
    char *out = (char *)calloc(1, 2 * len + sizeof(head) + sizeof(tail) + 8);
    must(out != NULL);
    if (!der)
        return (char *)memcpy(out, p, len);
    strcpy(out, head);
    EVP_EncodeBlock((unsigned char *)out + strlen(out), p, (int)len);
    return strcat(out, tail);
}

static void request(const char *pem)
{
    char *cert = NULL;
    struct pki_cert c, read;
    const char *why = NULL;
    int rc = pki_ca_sign(authority(), pem, AGENT, NOW, 86400 * SK_NS_PER_S, &cert, &c, &why);
    must(rc == SK_OK || rc == SK_EINVAL);
    must((rc == SK_OK) == (cert != NULL));
    if (rc == SK_OK) {
        must(strcmp(c.agent, AGENT) == 0 && c.not_after == NOW + 86400 * SK_NS_PER_S);
        must(pki_cert_read(cert, &read) == SK_OK && memcmp(&read, &c, sizeof(c)) == 0);
    } else {
        must(why[0] != '\0');
    }
    free(cert);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pki_cert c;
    if (size < 1 || size > PKI_PEM_MAX / 2)
        return 0;
    if (data[0] == 2) {
        must(pki_ca_check(authority(), data + 1, size - 1, NOW, &c) == SK_EPERM);
        return 0;
    }
    char *pem = text_of(data + 1, size - 1, data[0] == 1);
    request(pem);
    (void)(pki_cert_read(pem, &c) == SK_OK);
    free(pem);
    return 0;
}
