// Outputs its payload in upper case.
package main

import (
	"bytes"
	"io"
	"log"
	"os"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(bytes.ToUpper(text)); err != nil {
		log.Fatal(err)
	}
}
