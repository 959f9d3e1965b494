"""Has a cfssl server make keys and certificates, and writes them with their chains to files.

usage: CA=folder cfssl_client.py PORT COUNT CONNECTIONS
"""

import http.client
import json
import os
import pathlib
import sys
import threading
import time


def connect(port):
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.connect()
            return connection
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit("the server does not listen")


def make(port, numbers, chain):
    connection = connect(port)
    for number in numbers:
        name = f"device-{number}"
        request = {"request": {"CN": name, "key": {"algo": "ecdsa", "size": 256}, "names": [], "hosts": []}}
        connection.request("POST", "/api/v1/cfssl/newcert", json.dumps(request))
        result = json.loads(connection.getresponse().read())["result"]
        pathlib.Path(f"{name}.key.pem").write_text(result["private_key"])
        pathlib.Path(f"{name}.cert.pem").write_text(result["certificate"])
        pathlib.Path(f"{name}.chain.pem").write_text(result["certificate"] + chain)


if __name__ == "__main__":
    port, count, connections = (int(argument) for argument in sys.argv[1:4])
    chain = (pathlib.Path(os.environ["CA"]) / "chain.pem").read_text()
    lines = [
        threading.Thread(target=make, args=(port, range(first, count + 1, connections), chain))
        for first in range(1, connections + 1)
    ]
    for line in lines:
        line.start()
    for line in lines:
        line.join()
