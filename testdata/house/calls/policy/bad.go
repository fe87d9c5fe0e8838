package policy

import (
	"crypto/tls"
	"log"
	"os"
	"time"
)

var counter int

func init() { counter++ }

func bad() {
	counter = 2
	log.Fatal("x")
	os.Exit(1)
	time.Sleep(1)
	_ = &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: nil}
}
