// A member of a consumer group, and a producer, with Go's net/http alone.
// go run member.go consume GROUP TOPIC, or: go run member.go produce TOPIC < FILE
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"os"
	"strings"
	"time"
)

type line struct { // a record, or a control line, which has no offset
	Topic, Value, Next string
	Partition          int
	Offset             *int64
	Error              json.RawMessage
}

var url = "http://127.0.0.1:7070"

var client = http.Client{Transport: &http.Transport{ResponseHeaderTimeout: time.Minute}}

// Does the work. A record comes again if this program or the collector dies before it is committed.
func handle(it line) { fmt.Println(it.Topic, it.Partition, *it.Offset, it.Value) }

func ask(method, path, body string, header http.Header) (*http.Response, error) {
	request, _ := http.NewRequest(method, url+path, strings.NewReader(body))
	request.Header = header
	answer, err := client.Do(request)
	if err == nil && answer.StatusCode != 200 {
		defer answer.Body.Close()
		problem, _ := io.ReadAll(answer.Body)
		err = fmt.Errorf("%s %s", answer.Status, problem)
	}
	return answer, err
}

func commit(group, token string) error {
	header := http.Header{"Content-Type": {"application/json"}}
	answer, err := ask("POST", "/v1/groups/"+group+"/commit", `{"token":"`+token+`"}`, header)
	if answer != nil && answer.StatusCode == 409 {
		return nil // fenced: what has moved to another member is read there again
	}
	if err == nil {
		err = answer.Body.Close()
	}
	return err
}

func consume(group, topic string) error {
	path := "/v1/groups/" + group + "/records?topics=" + topic + "&tokens=true"
	answer, err := ask("GET", path, "", http.Header{"Accept": {"application/x-ndjson"}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	silence := time.AfterFunc(time.Minute, func() { answer.Body.Close() }) // a line comes every 15 s at least
	for lines, done := json.NewDecoder(answer.Body), 0; ; silence.Reset(time.Minute) {
		var it line
		if err := lines.Decode(&it); err != nil || it.Error != nil {
			return fmt.Errorf("the stream ended: %v %s", err, it.Error)
		}
		if it.Offset != nil {
			handle(it)
			done++
		}
		if done == 100 || (done > 0 && it.Offset == nil) { // with a control line, or every 100 records
			if err := commit(group, it.Next); err != nil {
				return err
			}
			done = 0
		}
	}
}

func patiently(work func() error) {
	for err := work(); err != nil; err = work() {
		log.Println("trying again soon:", err)
		time.Sleep(time.Second + time.Duration(rand.Int63n(int64(2*time.Second)))) // not all clients at once
	}
}

func main() {
	if of := os.Getenv("SKIDWAY_URL"); of != "" {
		url = of
	}
	if os.Args[1] == "consume" {
		patiently(func() error { return consume(os.Args[2], os.Args[3]) })
	}
	header := http.Header{"Content-Type": {"text/plain"}, "Producer-Epoch": {"0"}}
	header.Set("Producer-Id", fmt.Sprint(time.Now().UnixNano(), os.Getpid()))
	input := bufio.NewScanner(os.Stdin)
	for seq := 0; input.Scan(); seq++ {
		header.Set("Producer-Seq", fmt.Sprint(seq)) // sent again, it is stored once
		patiently(func() error {
			answer, err := ask("POST", "/v1/topics/"+os.Args[2]+"/records", input.Text()+"\n", header)
			if err == nil {
				err = answer.Body.Close()
			}
			return err
		})
	}
}
