//go:build linux

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
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority is a certificate authority of the cluster. It lives for one cluster
// and signs what serves and what calls.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir         string // where certificates and keys are written
}

// pair is a certificate with its key, both PEM.
type pair struct {
	certificate, key []byte
}

// identity is whom a certificate is for: to the API server its common name is
// the user and its organization the group.
type identity struct {
	name  string
	group string
	hosts []string // DNS names and IP addresses it serves; empty for a client
}

// newAuthority makes an authority and writes file.crt and file.key.
func newAuthority(dir, file string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(identity{name: "kubectl-retina-e2e-" + file})
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	template.ExtKeyUsage = nil // it would limit what can be signed
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{certificate: certificate, key: key, dir: dir}
	_, err = a.write(file, der, key)
	return a, err
}

// issue signs a certificate for id and writes file.crt and file.key.
func (a *authority) issue(file string, id identity) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	template, err := newTemplate(id)
	if err != nil {
		return pair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("certificate of %s: %w", id.name, err)
	}
	return a.write(file, der, key)
}

func newTemplate(id identity) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: id.name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if id.group != "" {
		template.Subject.Organization = []string{id.group}
	}
	for _, host := range id.hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template, nil
}

func (a *authority) write(file string, der []byte, key *ecdsa.PrivateKey) (pair, error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	p := pair{
		certificate: certificatePEM(der),
		key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	path := filepath.Join(a.dir, file)
	if err := os.WriteFile(path+".crt", p.certificate, 0o644); err != nil {
		return pair{}, err
	}
	return p, os.WriteFile(path+".key", p.key, 0o600)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// writeKeyPair writes the key with which the API server signs the tokens of
// service accounts: file.key and, for checking them, file.pub.
func writeKeyPair(dir, file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	path := filepath.Join(dir, file)
	data := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	if err := os.WriteFile(path+".pub", data, 0o644); err != nil {
		return err
	}
	data = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	return os.WriteFile(path+".key", data, 0o600)
}
