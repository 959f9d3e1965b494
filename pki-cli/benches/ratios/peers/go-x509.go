// Keys, certificates and chains as files, by Go's crypto/x509: what cfssl, step-ca and Vault call.
//
// usage: CA=folder go-x509 COUNT GOROUTINES
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func read(name string) []byte {
	return must(os.ReadFile(filepath.Join(os.Getenv("CA"), name)))
}

func block(name string) []byte {
	first, _ := pem.Decode(read(name))
	return first.Bytes
}

func write(name string, content []byte) {
	must(0, os.WriteFile(name, content, 0o600))
}

func main() {
	count, lines := must(strconv.Atoi(os.Args[1])), must(strconv.Atoi(os.Args[2]))
	signer := must(x509.ParsePKCS8PrivateKey(block("key.pem")))
	issuer := must(x509.ParseCertificate(block("cert.pem")))
	chain := read("chain.pem")
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	begin := time.Now()
	make := func(number int) {
		name := fmt.Sprintf("device-%d", number)
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		template := &x509.Certificate{
			SerialNumber:          must(rand.Int(rand.Reader, limit)),
			Subject:               pkix.Name{CommonName: name},
			NotBefore:             begin,
			NotAfter:              begin.Add(30 * 24 * time.Hour),
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageDigitalSignature,
			ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		der := must(x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer))
		secret := must(x509.MarshalPKCS8PrivateKey(key))
		leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		write(name+".key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
		write(name+".cert.pem", leaf)
		write(name+".chain.pem", append(leaf, chain...))
	}
	var all sync.WaitGroup
	for line := 1; line <= lines; line++ {
		all.Add(1)
		go func(first int) {
			defer all.Done()
			for number := first; number <= count; number += lines {
				make(number)
			}
		}(line)
	}
	all.Wait()
}
