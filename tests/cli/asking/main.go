// Sends a GET to the address in its payload.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"example/shout/jobwright"
)

func main() {
	url, _ := io.ReadAll(os.Stdin)
	response, err := jobwright.Send(jobwright.Request{URL: strings.TrimSpace(string(url))})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(75)
	}
	fmt.Print(response.Status, " ", string(response.Body))
}
