package main

import (
	"fmt"
	"os"
)

func main() {
	if os.Args[1] == "start" {
		pending, err := start(os.Args[2], os.Args[3])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(pending.Id)
		return
	}
	approved, err := check(os.Args[2], os.Args[3])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(approved.Phone)
}
