/*
 * TLS: our certificate, which may change while connections are open, and that of the client, which the library asks
 * for and does not judge; we do, with our CA alone.
 */
#include <stdlib.h>
#include "api_priv.h"

#define CHAIN_MAX 8

struct identity {
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n;
    gnutls_privkey_t key;
    bool loaded;
};

/* The one before stays: handshakes that began with it may still use it. Two changes within a handshake's time leave a
 * third one nowhere, hence the ring. */
#define IDENTITIES 4
static struct identity ring[IDENTITIES];
static unsigned current;
static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;

static void identity_clear(struct identity *i)
{
    for (unsigned k = 0; k < i->n; k++)
        gnutls_pcert_deinit(&i->chain[k]);
    if (i->key != NULL)
        gnutls_privkey_deinit(i->key);
    *i = (struct identity){0};
}

static bool load_chain(struct identity *i, const char *pem)
{
    gnutls_datum_t d = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)strlen(pem)};
    unsigned n = CHAIN_MAX;
    if (gnutls_pcert_list_import_x509_raw(i->chain, &n, &d, GNUTLS_X509_FMT_PEM, 0) < 0)
        return false;
    i->n = n;
    return n > 0;
}

static bool load_key(struct identity *i, const char *pem)
{
    gnutls_datum_t d = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)strlen(pem)};
    return gnutls_privkey_init(&i->key) >= 0 &&
           gnutls_privkey_import_x509_raw(i->key, &d, GNUTLS_X509_FMT_PEM, NULL, 0) >= 0;
}

/* A key that is another's would be seen only by clients. */
static bool belong_together(struct identity *i)
{
    unsigned char a[64], b[64];
    size_t na = sizeof(a), nb = sizeof(b);
    gnutls_pubkey_t of_key = NULL;
    bool ok = gnutls_pubkey_init(&of_key) >= 0 && gnutls_pubkey_import_privkey(of_key, i->key, 0, 0) >= 0 &&
              gnutls_pubkey_get_key_id(of_key, 0, a, &na) >= 0 &&
              gnutls_pubkey_get_key_id(i->chain[0].pubkey, 0, b, &nb) >= 0 && na == nb && memcmp(a, b, na) == 0;
    if (of_key != NULL)
        gnutls_pubkey_deinit(of_key);
    return ok;
}

int tls_set_certificate(const char *cert_pem, const char *key_pem)
{
    struct identity next = {0};
    if (!load_chain(&next, cert_pem) || !load_key(&next, key_pem) || !belong_together(&next)) {
        identity_clear(&next);
        return SK_EINVAL;
    }
    next.loaded = true;
    pthread_mutex_lock(&ring_lock);
    current = (current + 1) % IDENTITIES;
    identity_clear(&ring[current]);
    ring[current] = next;
    pthread_mutex_unlock(&ring_lock);
    return SK_OK;
}

void tls_clear(void)
{
    pthread_mutex_lock(&ring_lock);
    for (unsigned i = 0; i < IDENTITIES; i++)
        identity_clear(&ring[i]);
    pthread_mutex_unlock(&ring_lock);
}

int tls_retrieve(gnutls_session_t s, const gnutls_datum_t *ca_dn, int nca_dn, const gnutls_pk_algorithm_t *algos,
                 int nalgos, gnutls_pcert_st **pcert, unsigned int *npcert, gnutls_privkey_t *key)
{
    (void)s, (void)ca_dn, (void)nca_dn, (void)algos, (void)nalgos;
    pthread_mutex_lock(&ring_lock);
    struct identity *i = &ring[current];
    *pcert = i->chain;
    *npcert = i->n;
    *key = i->key;
    bool ok = i->loaded;
    pthread_mutex_unlock(&ring_lock);
    return ok ? 0 : -1;
}

/* --- the client's --- */

static enum peer_state judge(struct api *a, const gnutls_datum_t *der, struct pki_cert *out)
{
    switch (pki_ca_check(a->o.ca, der->data, der->size, sk_now_wall(), out)) {
    case SK_OK: return PEER_AGENT;
    case SK_EEND: return PEER_EXPIRED;
    default: return PEER_REFUSED;
    }
}

void tls_look_at_peer(struct api *a, struct MHD_Connection *c, struct conn *k)
{
    if (k->peer != PEER_UNKNOWN)
        return;
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    unsigned n = 0;
    const gnutls_datum_t *list = i != NULL ? gnutls_certificate_get_peers((gnutls_session_t)i->tls_session, &n) : NULL;
    k->peer = list != NULL && n > 0 ? judge(a, &list[0], &k->cert) : PEER_NONE;
}
