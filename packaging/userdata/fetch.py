import hashlib, hmac, json, os, shutil, sys, time, urllib.error, urllib.parse, urllib.request
IMDS = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/") + "/latest/"
local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def imds(path):
    ask = urllib.request.Request(IMDS + "api/token", method="PUT", headers={"x-aws-ec2-metadata-token-ttl-seconds": "60"})
    token = local.open(ask, timeout=5).read().decode()
    ask = urllib.request.Request(IMDS + "meta-data/" + path, headers={"x-aws-ec2-metadata-token": token})
    return local.open(ask, timeout=5).read().decode()
def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
def s3(bucket, key, region, endpoint):
    region = region or imds("placement/region")
    role = "iam/security-credentials/"
    creds = json.loads(imds(role + imds(role).split()[0]))
    path = "/" + urllib.parse.quote(key)
    host = "s3.%s.amazonaws.com%s" % (region, ".cn" if region.startswith("cn-") else "")
    if endpoint or "." in bucket:
        path = "/" + bucket + path
    else:
        host = bucket + "." + host
    base = endpoint.rstrip("/") or "https://" + host
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    head = {"host": urllib.parse.urlsplit(base).netloc, "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
            "x-amz-date": now, "x-amz-security-token": creds["Token"]}
    names = ";".join(sorted(head))
    canonical = "\n".join(["GET", path, ""] + ["%s:%s" % h for h in sorted(head.items())] + ["", names,
                                                                                             head["x-amz-content-sha256"]])
    scope = [now[:8], region, "s3", "aws4_request"]
    k = ("AWS4" + creds["SecretAccessKey"]).encode()
    for part in scope:
        k = mac(k, part)
    text = "\n".join(["AWS4-HMAC-SHA256", now, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    head["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        creds["AccessKeyId"], "/".join(scope), names, mac(k, text).hex())
    return urllib.request.Request(base + path, headers=head)
url, out, region, endpoint = sys.argv[1:5]
try:
    u = urllib.parse.urlsplit(url)
    ask = s3(u.netloc, u.path[1:], region, endpoint) if u.scheme == "s3" else url
    with urllib.request.urlopen(ask, timeout=60) as r, open(out, "wb") as f:
        shutil.copyfileobj(r, f)
except Exception as e:
    print("%s: %s" % (url, e))
    sys.exit(4 if isinstance(e, urllib.error.HTTPError) and e.code < 500 and e.code != 429 else 1)
