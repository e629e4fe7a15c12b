// Connects to port 80 of a name and prints how many milliseconds that took.
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	begun := time.Now()
	if _, err := net.Dial("tcp", net.JoinHostPort(os.Args[1], "80")); err != nil {
		fmt.Fprintln(os.Stderr, err, time.Since(begun))
		os.Exit(1)
	}
	fmt.Println(time.Since(begun).Milliseconds())
}
